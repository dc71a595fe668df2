from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retriever.fusion import MOST, convex, dense_share, ranked, rrf

chunk_ids = st.integers(1, 30)
cosines = st.dictionaries(chunk_ids, st.floats(-1, 1))
bm25 = st.dictionaries(chunk_ids, st.floats(1e-6, 60))
weights = st.floats(0, 1)


@given(cosines, bm25, weights)
def test_convex_scores_every_candidate_between_0_and_1(dense: dict[int, float], lexical: dict[int, float], weight: float) -> None:
    fused = convex(dense, lexical, weight)
    assert fused.keys() == dense.keys() | lexical.keys()
    assert all(0 <= score <= 1 + 1e-9 for score in fused.values())


@given(cosines, bm25, weights)
def test_convex_puts_what_is_best_in_both_channels_first(dense: dict[int, float], lexical: dict[int, float], weight: float) -> None:
    fused = convex({**dense, 99: 1.5}, {**lexical, 99: 100.0}, weight)
    assert fused[99] == max(fused.values())


@given(cosines, bm25)
def test_convex_with_all_weight_on_one_channel_keeps_its_order(dense: dict[int, float], lexical: dict[int, float]) -> None:
    by_words = convex(dense, lexical, 0.0)
    assert all(by_words[a] >= by_words[b] for a in lexical for b in lexical if lexical[a] >= lexical[b])
    by_meaning = convex(dense, lexical, 1.0)
    assert all(by_meaning[a] >= by_meaning[b] for a in dense for b in dense if dense[a] >= dense[b])


@given(bm25, st.dictionaries(st.text(max_size=3), st.floats(0.01, 9)), weights, weights)
def test_the_dense_share_grows_with_what_the_words_lack_and_never_falls(
    lexical: dict[int, float], rarity: dict[str, float], weight: float, gain: float
) -> None:
    share = dense_share(weight, gain, lexical, rarity)
    assert weight <= share <= max(weight, MOST)
    assert dense_share(weight, gain, {**lexical, 99: 0.1}, rarity) <= share
    assert dense_share(weight, 0.0, lexical, rarity) == weight
    assert dense_share(weight, gain, {1: sum(rarity.values())}, rarity) == weight


def test_the_dense_share_of_words_that_are_half_found() -> None:
    rarity = {"seikan": 6.0, "tunnel": 4.0}
    assert dense_share(0.5, 0.5, {1: 5.0, 2: 3.0}, rarity) == pytest.approx(0.5 + 0.5 * 0.3)
    assert dense_share(0.5, 0.5, {}, rarity) == MOST
    assert dense_share(0.5, 0.5, {}, {}) == 0.5


def test_convex_normalizes_cosines_by_range_and_bm25_by_maximum() -> None:
    fused = convex({1: 0.2, 2: 0.4, 3: 0.6}, {2: 5.0, 4: 10.0}, 0.7)
    assert fused == pytest.approx({1: 0.0, 2: 0.7 * 0.5 + 0.3 * 0.5, 3: 0.7, 4: 0.3})


def test_convex_counts_a_lone_cosine_as_the_best() -> None:
    assert convex({1: 0.1}, {}, 0.5) == {1: 0.5}


def test_rrf_sums_reciprocal_ranks_counted_from_one() -> None:
    assert rrf([[7, 8], [8, 9]], 60) == pytest.approx({7: 1 / 61, 8: 1 / 62 + 1 / 61, 9: 1 / 62})


@given(st.lists(chunk_ids, unique=True), st.lists(chunk_ids, unique=True), st.integers(1, 100))
def test_rrf_does_not_depend_on_the_order_of_the_channels(one: list[int], other: list[int], k: int) -> None:
    assert rrf([one, other], k) == pytest.approx(rrf([other, one], k))


@given(cosines)
def test_ranking_is_by_score_and_then_by_id(scores: dict[int, float]) -> None:
    order = ranked(scores)
    assert sorted(order) == sorted(scores)
    assert all((-scores[a], a) < (-scores[b], b) for a, b in pairwise(order))
