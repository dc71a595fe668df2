import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.words import FUNCTION_WORDS, content_words, words


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
