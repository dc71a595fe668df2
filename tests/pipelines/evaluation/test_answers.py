import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluation.answers import contains_answer, first_sentences, normalize_answer, rouge_l, token_f1


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Denver Broncos!", "denver broncos"),
        ("an  apple, a day", "apple day"),
        ("theatre", "theatre"),
        ("$12.50", "1250"),
        ("16-bit", "16bit"),
        ("the", ""),
    ],
)
def test_normalizing_is_that_of_squad(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


@given(st.text())
def test_normalizing_twice_is_normalizing_once_where_no_article_is_uncovered(text: str) -> None:
    once = normalize_answer(text)
    assert " ".join(once.split()) == once
    assert once == once.lower()


@pytest.mark.parametrize(
    ("text", "answers", "is_contained"),
    [
        ("It opened in October 1973, they say.", ["1973"], True),
        ("It opened in the October of 1973.", ["October 1973", "of 1973"], True),
        ("It opened in 1950.", ["5", "195"], False),
        ("THE BRONCOS", ["the Broncos"], True),
        ("An answer of the articles.", ["the", "a"], False),
        ("", ["x"], False),
    ],
)
def test_an_answer_is_contained_as_whole_words(text: str, answers: list[str], is_contained: bool) -> None:
    assert contains_answer(text, answers) is is_contained


def test_the_first_sentences_are_cut_at_their_ends() -> None:
    text = "It is 3.5 km long. Dr. Meier built it. It is closed."
    assert first_sentences(text, 1).strip() == "It is 3.5 km long."
    assert first_sentences(text, 2).strip() == "It is 3.5 km long. Dr. Meier built it."
    assert first_sentences(text, 3) == first_sentences(text, 9) == text
    assert first_sentences("", 1) == ""


def test_f1_is_that_computed_by_hand() -> None:
    # Three words said, two right ones, two shared: precision 2/3, recall 1.
    assert token_f1("Denver Broncos won", ["the Denver Broncos"]) == pytest.approx(0.8)
    assert token_f1("Denver Broncos won", ["x", "won"]) == pytest.approx(0.5)
    # A word said twice is shared once.
    assert token_f1("york york", ["New York"]) == pytest.approx(0.5)
    assert token_f1("", ["x"]) == 0


def test_rouge_l_is_that_computed_by_hand_for_the_best_reference() -> None:
    # The longest common subsequence is `the cat ... mat`: 3 of 4 words each.
    assert rouge_l("the cat left mat", ["the cat on mat"]) == pytest.approx(0.75)
    assert rouge_l("the cat left mat", ["dogs", "the cats left mats"]) == 1
    assert rouge_l("", ["the cat"]) == 0
