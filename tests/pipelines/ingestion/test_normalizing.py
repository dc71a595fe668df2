import unicodedata
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.schemas import Block, Document, Heading
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


def test_a_page_start_inside_a_combination_moves_to_its_begin():
    document = normalize_document(Document(id="d", text="ae\u0301", page_starts=(0, 2, 3)))
    assert document.text == "aé"
    assert document.page_starts == (0, 1, 2)


def test_the_title_is_normalized_as_well():
    assert normalize_document(Document(id="d", title="Cafe\u0301\x00", text="x")).title == "Café"


PIECES = st.lists(st.text(st.sampled_from("ab \u00e9e\n\r\x00\u0301"), max_size=6).map(lambda piece: "p" + piece + "q"), min_size=3, max_size=8)


@given(PIECES)
def test_headings_and_blocks_stand_where_they_stood(pieces):
    starts = [sum(map(len, pieces[:n])) for n in range(len(pieces))]
    text = "".join(pieces)
    headings = tuple(Heading(start=start, level=1, text=piece) for start, piece in zip(starts, pieces, strict=True))
    blocks = tuple(Block(start=start, end=start + len(piece), kind="code") for start, piece in zip(starts, pieces, strict=True))
    document = normalize_document(Document(id="d", text=text, headings=headings, blocks=blocks))
    assert [document.text[block.start : block.end] for block in document.blocks] == [normalize(piece) for piece in pieces]
    for heading in document.headings:
        assert document.text.startswith(heading.text, heading.start)


@given(ANYTHING.filter(str.strip), st.data())
def test_normalizing_a_document_twice_changes_nothing(text, data):
    text = normalize(text) if data.draw(st.booleans()) else text.encode("utf-8", "replace").decode()
    assume(normalize(text).strip())
    begins = sorted(data.draw(st.sets(st.integers(0, len(text)), min_size=2, max_size=5)))
    document = Document(
        id="d",
        title=text[:20],
        text=text,
        page_starts=tuple(begins),
        headings=tuple(Heading(start=start, level=1, text=text[:20]) for start in begins),
        blocks=(Block(start=begins[0], end=begins[-1], kind="table"),),
    )
    once = normalize_document(document)
    assert normalize_document(once) == once
    bounds = [0, *once.page_starts, len(once.text)]
    assert bounds == sorted(bounds)
    assert all(block.start < block.end <= len(once.text) for block in once.blocks)


def test_a_cut_inside_a_line_end_shifts_nothing_behind_it():
    text = "one\r\n" * 100 + "# Last"
    headings = (*(Heading(start=5 * n + 4, level=1, text="x") for n in range(100)), Heading(start=500, level=1, text="Last"))
    document = normalize_document(Document(id="d", text=text, headings=headings))
    assert document.text[document.headings[-1].start :] == "# Last"


def test_a_block_of_which_nothing_is_left_goes():
    blocks = (Block(start=1, end=3, kind="code"), Block(start=4, end=5, kind="code"))
    document = normalize_document(Document(id="d", text="a\x00\x00bc", blocks=blocks))
    assert document.blocks == (Block(start=2, end=3, kind="code"),)


def test_many_offsets_inside_one_endless_combination_are_no_burden():
    text = "e" + "\u0301" * 50_000
    document = normalize_document(Document(id="d", text=text, page_starts=tuple(range(0, 50_000, 10))))
    assert max(document.page_starts) <= len(document.text)
