import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.reading import Read, ReadSentence, SentenceReader


def read(*pieces: str, max_sentences: int = 9) -> list[Read]:
    reader = SentenceReader(max_sentences)
    return [part for piece in pieces for part in reader.feed(piece)] + list(reader.finish())


def sentences(text: str, max_sentences: int = 9) -> list[tuple[str, tuple[int, ...]]]:
    return [tuple(part) for part in read(text, max_sentences=max_sentences) if isinstance(part, ReadSentence)]  # type: ignore[misc]


pieces = st.sampled_from(
    ["The tunnel was opened early. ", "Trains run under it [1]. ", "[2] ", "[3", "]", "\n", "- ", "1. ", "2) ", "# Title\n", "Dr. Smith ",
     '"It ', 'rained." ',
     "NONE", "NONE. ", "OK. ", "新幹線は速い。", "[1]", "... ", "** ", "\n\n", "x ", "e.g. this ", "😀", "? ", "<think>", "</think>"]
)  # fmt: skip
texts = st.lists(pieces | st.text(max_size=5), max_size=15).map("".join)


@given(texts, st.integers(1, 4))
def test_the_streamed_text_is_the_sentences_joined_by_a_space(text: str, max_sentences: int) -> None:
    parts = read(text, max_sentences=max_sentences)
    whole = [part.text for part in parts if isinstance(part, ReadSentence)]
    assert "".join(part for part in parts if isinstance(part, str)) == " ".join(whole)
    assert len(whole) <= max_sentences
    assert all(one == one.strip() and any(map(str.isalnum, one)) for one in whole)


@given(texts, st.integers(1, 4))
def test_a_sentence_comes_when_its_text_is_complete(text: str, max_sentences: int) -> None:
    streamed, joined = "", ""
    for part in read(text, max_sentences=max_sentences):
        if isinstance(part, ReadSentence):
            joined = f"{joined} {part.text}".strip()
            assert streamed == joined
        else:
            streamed += part


@given(texts, st.data(), st.integers(1, 4))
def test_how_a_text_is_cut_changes_no_sentence(text: str, data: st.DataObject, max_sentences: int) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(*parts, max_sentences=max_sentences) == read(text, max_sentences=max_sentences)


@given(texts)
def test_no_marker_is_shown(text: str) -> None:
    import re

    assert not any(re.search(r"[\[【［][\d ,;–-]*\d[\d ,;–-]*[\]】］]", part) for part in read(text) if isinstance(part, str))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It was opened in 1988 [1]. Trains run under it [2][3].", [("It was opened in 1988.", (1,)), ("Trains run under it.", (2, 3))]),
        ("It was opened in 1988. [1] Trains run under it. [2, 1]", [("It was opened in 1988.", (1,)), ("Trains run under it.", (2, 1))]),
        ("It was opened in 1988.[1]Trains run under it.", [("It was opened in 1988.", (1,)), ("Trains run under it.", ())]),
        ("It was opened [1] in 1988 [1][2][1].", [("It was opened in 1988.", (1, 2))]),
        ("[1] It was opened in 1988.\n[2] Trains run under it.", [("It was opened in 1988.", (1,)), ("Trains run under it.", (2,))]),
        ("It was opened in 1988.\n[1]\n\nTrains run under it.\n[2]", [("It was opened in 1988.", (1,)), ("Trains run under it.", (2,))]),
        ("Dr. Smith met Mr. Jones at 5 p.m. today. They ran.", [("Dr. Smith met Mr. Jones at 5 p.m. today.", ()), ("They ran.", ())]),
        ("Yes. It was opened in 1988. OK.", [("Yes. It was opened in 1988.", ()), ("OK.", ())]),
        ("Yes [1]. It was opened in 1988 [2].", [("Yes.", (1,)), ("It was opened in 1988.", (2,))]),
        ("It was opened in 1988\nTrains run", [("It was opened in 1988", ()), ("Trains run", ())]),
        ("# Answer\n\n- It was opened early [1].\n- Trains run [2].", [("It was opened early.", (1,)), ("Trains run.", (2,))]),
        ("1. It was opened early.\n2. Trains run.", [("It was opened early.", ()), ("Trains run.", ())]),
        ("12. March 1988 was the day.", [("12. March 1988 was the day.", ())]),
        ("新幹線は速い。[1]東京と大阪を結ぶ[2]。", [("新幹線は速い。", (1,)), ("東京と大阪を結ぶ。", (2,))]),
        ("It was opened in 1988. – Trains run.", [("It was opened in 1988. –", ()), ("Trains run.", ())]),
        ("It was opened in [1", [("It was opened in", ())]),
        ("None of them stands there [1].", [("None of them stands there.", (1,))]),
        ("None.", [("None.", ())]),
        ("NONE", []),
        ("**NONE**. The passage is about the weather.", []),
        ("\n\n NONE [1]\n", []),
        ("... ---", []),
        ("<think>\nIt may be [3]. Or not.\n</think>\n\nIt was opened in 1988 [1].", [("It was opened in 1988.", (1,))]),
        ("<think>Hm [3].</think>It was opened [1].", [("It was opened.", (1,))]),
        ("<think>\n\n</think>\n\nNONE", []),
        ("<think> It may be that nothing", []),
        ("", []),
    ],
)  # fmt: skip
def test_sentences_and_their_markers(text: str, expected: list[tuple[str, tuple[int, ...]]]) -> None:
    assert sentences(text) == expected


def test_a_full_reader_reads_no_more() -> None:
    reader = SentenceReader(1)
    parts = list(reader.feed("It was opened in 1988. [4] Trains"))
    assert not reader.full
    parts += reader.feed(" run under it.")
    assert reader.full
    assert parts[-1] == ReadSentence("It was opened in 1988.", (4,))
    assert [*reader.feed(" More."), *reader.finish()] == []


def test_words_are_streamed_before_their_sentence_ends() -> None:
    reader = SentenceReader(3)
    assert [list(reader.feed(piece)) for piece in ("It was op", "ened in ", "19")] == [["It", " was"], [" opened", " in"], []]
