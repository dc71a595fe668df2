import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DocumentUnreadable
from pipelines.ingestion.loading.encoding import decode
from pipelines.ingestion.normalizing import normalize

JAPANESE = "日本の鉄道は明治五年に新橋と横浜の間で開業した。駅弁は、駅で売られる弁当であり、旅の楽しみである。\n" * 4
GERMAN = "Der Zug fährt über die Brücke. Die Straße führt zum schönen Bahnhof in Köln, und das Frühstück ist süß.\n" * 4
ENGLISH = "The train leaves the station at noon, and the box lunch is sold on the platform.\n" * 4


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1))
def test_utf8_is_read_as_utf8(text):
    assert decode(text.encode(), "t.txt") == normalize(text)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("text", [JAPANESE, GERMAN, ENGLISH, "a"])
def test_a_byte_order_mark_decides(text, encoding):
    assert decode(text.encode(encoding), "t.txt") == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "latin-1"),
        (GERMAN, "cp1252"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (ENGLISH, "utf-16-le"),
        (ENGLISH, "utf-16-be"),
    ],
)
def test_other_encodings_are_detected(text, encoding):
    assert decode(text.encode(encoding), "t.txt") == text


def test_line_ends_are_unified():
    assert decode(b"one\r\ntwo\rthree", "t.txt") == "one\ntwo\nthree"


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" * 9,
        b"\x7fELF\x02\x01\x01" + bytes(64),
        b"\x00",
        b"text with one \x00 NUL",
        bytes(range(256)),
        b"\x01\x02\x03\x04plain" * 20,
    ],
    ids=["png", "elf", "nul", "text with a nul", "every byte", "controls"],
)
def test_binary_content_is_refused(content):
    with pytest.raises(DocumentUnreadable, match=r"photo\.txt: looks binary"):
        decode(content, "photo.txt")


def test_a_broken_utf16_file_is_read_as_far_as_it_goes():
    assert decode("train".encode("utf-16") + b"\x00", "t.txt") == "train\ufffd"


def test_a_terminal_log_is_text():
    log = b"\x1b[32mok\x1b[0m the line has colours\n" * 30
    assert "the line has colours" in decode(log, "t.txt")


@pytest.mark.parametrize("declared", ["zlib", "undefined", "idna", "no-such-encoding", "utf-8"])
def test_a_wrong_declaration_is_passed_over(declared):
    content = f"charset={declared}\n{GERMAN}".encode("cp1252")
    assert decode(content, "t.txt") == f"charset={declared}\n{GERMAN}"


def test_latin1_means_windows1252():
    assert decode("charset=iso-8859-1 \u201cquoted\u201d".encode("cp1252"), "t.txt") == "charset=iso-8859-1 \u201cquoted\u201d"


def test_a_short_text_is_what_it_declares():
    text = "<meta charset=Shift_JIS><p>" + "駅弁は旅の楽しみである。" * 5
    assert decode(text.encode("shift_jis"), "t.txt") == text
