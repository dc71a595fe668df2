import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.words import FUNCTION_WORDS, content_words, share, stem, stems, words


@given(st.text())
def test_words_and_what_parts_them_make_up_the_text(text: str) -> None:
    rest = text.casefold()
    for word in words(text):
        between, _, rest = rest.partition(word)
        assert not any(character.isalnum() for character in between)
    assert not any(character.isalnum() for character in rest)


@given(st.text())
def test_case_does_not_matter(text: str) -> None:
    assert words(text.casefold()) == words(text)


@given(st.text())
def test_a_text_with_words_has_content_words(text: str) -> None:
    assert set(content_words(text)) <= set(words(text))
    assert bool(content_words(text)) == bool(words(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the gauge of the Shinkansen?", ["gauge", "shinkansen"]),
        ("What is it?", ["what", "is", "it"]),
        ("1,435 mm", ["1", "435", "mm"]),
        ("Straße", ["strasse"]),
        ("新幹線は速い。", ["新幹線は速い"]),
        ("?!", []),
    ],
)
def test_content_words_leave_grammar_out_unless_nothing_else_is_left(text: str, expected: list[str]) -> None:
    assert content_words(text) == expected


def test_function_words_are_lower_case_words() -> None:
    assert {word for word in FUNCTION_WORDS if words(word) != [word]} == set()


@pytest.mark.parametrize(("word", "expected"), [("bridges", "bridg"), ("opened", "open"), ("1872", "1872"), ("brücken", "brücken"), ("駅弁", "駅弁")])
def test_english_endings_are_cut_and_other_words_kept(word: str, expected: str) -> None:
    assert stem(word) == expected


def test_stems_are_those_of_the_content_words() -> None:
    assert stems("The bridges were opened.") == {"bridg", "open"}


@given(st.dictionaries(st.text(), st.floats(0.01, 10)), st.frozensets(st.text()))
def test_a_share_is_a_share_of_the_weight(wanted: dict[str, float], held: frozenset[str]) -> None:
    assert 0 <= share(wanted, held) <= 1 + 1e-9
    assert share(wanted, [*held, *wanted]) == pytest.approx(1.0 if wanted else 0.0)


def test_rare_words_count_more() -> None:
    assert share({"gauge": 3.0, "railway": 1.0}, ["gauge", "other"]) == 0.75
