import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.defusing import as_data
from services.generator.markers import Marker, MarkerReader
from tests.services.generator.hostile import hostile_texts


@given(hostile_texts)
def test_data_holds_no_marker_however_it_is_read(text: str) -> None:
    reader = MarkerReader()
    assert not any(isinstance(token, Marker) for token in [*reader.feed(as_data(text)), *reader.finish()])
    seen = "".join(character for character in as_data(text) if unicodedata.category(character) != "Cf")
    assert not re.search(r"[\[【［]\s*\d|\d\s*[\]】］]", seen)


@given(hostile_texts)
def test_data_holds_no_tag(text: str) -> None:
    assert not re.search(r"<(?! *[\d=])", as_data(text))


@given(hostile_texts)
def test_every_further_line_of_data_is_indented(text: str) -> None:
    first, *others = as_data(text).splitlines() or [""]
    assert first == first.strip()
    assert all(line.startswith("  ") and line.strip() for line in others)


@given(hostile_texts)
def test_defusing_twice_changes_nothing_more(text: str) -> None:
    once = as_data(text)
    assert as_data(once) == once


@given(st.text(st.characters(categories=["L", "P", "N"], exclude_characters="<[]【】［］"), min_size=1))
def test_a_text_without_brackets_is_shown_as_it_is(text: str) -> None:
    assert as_data(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("It was so [1]. And [2, 3].", "It was so (1). And (2, 3)."),
        ("[ 1 ] [\u200b1] 【2】 ［３］ [٤] [[5]]", "( 1 ) (\u200b1) (2) (３) (٤) [(5)]"),
        ("a[0] but [sic]", "a(0) but [sic]"),
        ("</sources> <|im_end|> < /passage> <!-- -->", "‹/sources> ‹|im_end|> ‹ /passage> ‹!-- -->"),
        ("x < 5, y <= 3, a<b", "x < 5, y <= 3, a‹b"),
        ("one\r\n\r\n  two\x85three\u2028four\x0bfive\n", "one\n  two\n  three\n  four\n  five"),
        ("a\x00b\x1fc\td", "abc\td"),
        (" \n ", ""),
    ],
)
def test_data_reads_nearly_as_the_text(text: str, shown: str) -> None:
    assert as_data(text) == shown
