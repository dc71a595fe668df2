import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.schemas import Document
from pipelines.ingestion.normalizing import normalize, normalize_document

ANYTHING = st.text(st.characters() | st.sampled_from("\r\n\t\ufeff\x00\x1b\u0301e\ud800\udfff한ᄒ"), max_size=60)


@given(ANYTHING)
def test_normalizing_twice_changes_nothing(text):
    once = normalize(text)
    assert normalize(once) == once


@given(ANYTHING)
def test_the_result_is_utf8_in_nfc_without_controls(text):
    result = normalize(text)
    result.encode("utf-8")
    assert unicodedata.is_normalized("NFC", result)
    assert not [char for char in result if (char < " " and char not in "\n\t") or char in "\x7f\ufeff"]


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Z"])))
def test_ordinary_text_stays_as_it_is(text):
    assert normalize(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\n\r\nd", "a\nb\nc\n\nd"),
        ("\ufeffBOM", "BOM"),
        ("nul\x00and\x07bell", "nulandbell"),
        ("tab\tstays", "tab\tstays"),
        ("cafe\u0301", "café"),
        ("e\x00\u0301", "é"),
        ("half \ud83d of a pair", "half \ufffd of a pair"),
    ],
)
def test_examples(text, expected):
    assert normalize(text) == expected


@given(st.lists(st.text(st.sampled_from("ab é\n\r\x00"), min_size=1).map(lambda page: "p" + page + "q"), min_size=1, max_size=5))
def test_pages_begin_where_they_began(pages):
    starts = tuple(sum(map(len, pages[:n])) for n in range(len(pages)))
    document = normalize_document(Document(id="d", text="".join(pages), page_starts=starts))
    bounds = [*document.page_starts, len(document.text)]
    assert [document.text[a:b] for a, b in pairwise(bounds)] == [normalize(page) for page in pages]


def test_a_page_start_never_leaves_the_text():
    document = normalize_document(Document(id="d", text="ae\u0301", page_starts=(0, 2, 3)))
    assert document.text == "aé"
    assert document.page_starts == (0, 2, 2)


def test_the_title_is_normalized_as_well():
    assert normalize_document(Document(id="d", title="Cafe\u0301\x00", text="x")).title == "Café"
