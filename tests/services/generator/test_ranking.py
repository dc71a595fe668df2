import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.vectors import Vector
from services.generator.ranking import even, first_of_repeats, jaccard, maximal_marginal_relevance, relevance

texts = st.text(alphabet="ab c", max_size=12)
shares = st.floats(0, 1, width=32)


@st.composite
def rankings(draw: st.DrawFn) -> tuple[Vector, np.ndarray]:
    """Scores of up to 8 entries and how similar these are to each other."""
    count = draw(st.integers(0, 8))
    scores = np.array(draw(st.lists(shares, min_size=count, max_size=count)), np.float32)
    similarity = np.array(draw(st.lists(shares, min_size=count * count, max_size=count * count)), np.float32).reshape(count, count)
    return scores, np.maximum(similarity, similarity.T)


@given(rankings(), st.integers(0, 10), shares)
def test_what_is_chosen_is_unlike_each_other_and_what_is_left_out_repeats_it(ranking: tuple[Vector, np.ndarray], count: int, weight: float) -> None:
    scores, similarity = ranking
    chosen = maximal_marginal_relevance(scores, lambda a, b: float(similarity[a, b]), count, weight, same=0.75)
    assert len(chosen) == len(set(chosen)) <= count
    assert all(similarity[a, b] < 0.75 for a in chosen for b in chosen if a != b)
    if len(chosen) < count:
        assert all(any(similarity[index, one] >= 0.75 for one in chosen) for index in set(range(len(scores))) - set(chosen))


@given(rankings(), st.integers(1, 10), shares)
def test_each_choice_is_the_best_of_what_was_left(ranking: tuple[Vector, np.ndarray], count: int, weight: float) -> None:
    scores, similarity = ranking
    chosen = maximal_marginal_relevance(scores, lambda a, b: float(similarity[a, b]), count, weight, same=2)
    for rank, best in enumerate(chosen):
        marginal = [
            weight * float(scores[i]) - (1 - weight) * max((float(similarity[i, c]) for c in chosen[:rank]), default=0.0) for i in range(len(scores))
        ]
        assert marginal[best] == pytest.approx(max(marginal[i] for i in range(len(scores)) if i not in chosen[:rank]))


@given(rankings())
def test_relevance_alone_chooses_by_score(ranking: tuple[Vector, np.ndarray]) -> None:
    scores, similarity = ranking
    chosen = maximal_marginal_relevance(scores, lambda a, b: float(similarity[a, b]), len(scores), 1.0, same=2)
    assert chosen == sorted(range(len(scores)), key=lambda index: -scores[index])


@given(texts, texts)
def test_common_words_are_a_share_and_do_not_depend_on_the_order(first: str, second: str) -> None:
    assert 0 <= jaccard(first, second) == jaccard(second, first) <= 1
    assert jaccard(first, first) == 1


@given(st.lists(texts, max_size=8), st.sampled_from([0.3, 0.5, 0.9, 1.0]))
def test_of_repeats_the_first_is_kept_and_what_is_new_is_too(given_texts: list[str], same: float) -> None:
    kept = first_of_repeats(given_texts, same)
    assert kept == sorted(set(kept))
    for index, text in enumerate(given_texts):
        repeats = any(jaccard(text, given_texts[one]) >= same for one in kept if one < index)
        assert (index in kept) is not repeats


def test_texts_that_differ_in_a_number_alone_are_no_repeats() -> None:
    long = "the old tunnel under the strait was opened to all trains from both of the islands on a cold morning in March of the year"
    assert first_of_repeats([f"{long} 1988", f"{long} 1998", f"{long} 1988"], 0.5) == [0, 1]


def test_without_rarity_all_words_of_a_question_count_alike() -> None:
    assert even("When was the old tunnel opened?") == {"old": 1.0, "tunnel": 1.0, "open": 1.0}


def test_relevance_is_the_mean_of_cosine_covered_rarity_and_passage_score() -> None:
    rarity = {"tunnel": 3.0, "open": 1.0}
    scores = relevance(rarity, ["the tunnels", "opening", "nothing"], np.array([0.5, 0.2, -0.4], np.float32), 0.4)
    assert scores.dtype == np.float32
    assert scores.tolist() == pytest.approx([(0.5 + 0.75 + 0.4) / 3, (0.2 + 0.25 + 0.4) / 3, (0 + 0 + 0.4) / 3])


def test_relevance_of_no_sentence_is_empty() -> None:
    assert relevance({"x": 1.0}, [], np.empty(0, np.float32), 1.0).shape == (0,)
