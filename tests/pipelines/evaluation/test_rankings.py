import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.schemas import ChannelScores, Passage
from pipelines.evaluation.rankings import MEASURES, rank_documents, score_rankings


def passage(document_id: str, score: float) -> Passage:
    return Passage(
        document_id=document_id,
        chunk_id=f"{document_id}#0",
        collection="default",
        title="",
        start=0,
        end=1,
        text="a",
        score=score,
        scores=ChannelScores(),
    )


def test_a_document_stands_where_its_best_passage_does() -> None:
    assert rank_documents([passage("b", 0.9), passage("a", 0.8), passage("b", 0.7), passage("c", 0.6)]) == ("b", "a", "c")


def test_passages_of_one_document_leave_room_for_others() -> None:
    many = [passage("a", 1.0)] * 50 + [passage(str(number), 0.5) for number in range(20)]
    assert rank_documents(many) == ("a", *map(str, range(9)))


def test_scores_are_those_computed_by_hand() -> None:
    # Two relevant documents, one of them graded 2, found at the ranks 2 and 4.
    scores = score_rankings({"q": ["x", "a", "y", "b"]}, {"q": {"a": 1, "b": 2, "x": 0}})["q"]
    gain = 1 / math.log2(3) + 2 / math.log2(5)
    best = 2 / math.log2(2) + 1 / math.log2(3)
    assert scores["recall@5"] == scores["recall@10"] == 1
    assert scores["MRR@10"] == 0.5
    assert scores["nDCG@10"] == pytest.approx(gain / best)


def test_recall_counts_the_first_five_or_ten() -> None:
    found = [f"x{number}" for number in range(5)] + ["a"]
    scores = score_rankings({"q": found}, {"q": {"a": 1, "b": 1}})["q"]
    assert (scores["recall@5"], scores["recall@10"], scores["MRR@10"]) == (0, 0.5, pytest.approx(1 / 6))


def test_nothing_found_is_zero_and_nothing_relevant_is_no_score() -> None:
    scores = score_rankings({"empty": [], "irrelevant": ["a"], "unjudged": ["a"]}, {"empty": {"a": 1}, "irrelevant": {"a": 0}, "other": {"a": 1}})
    assert scores == {"empty": dict.fromkeys(MEASURES, 0.0)}
    assert score_rankings({}, {}) == {}


@given(st.permutations([str(number) for number in range(10)]), st.sets(st.sampled_from([str(number) for number in range(10)]), min_size=1))
def test_every_score_lies_between_0_and_1_and_is_1_for_the_best_order(found: list[str], relevant: set[str]) -> None:
    relevance = {"q": dict.fromkeys(relevant, 1)}
    assert all(0 <= value <= 1 for value in score_rankings({"q": found}, relevance)["q"].values())
    best = score_rankings({"q": sorted(found, key=lambda document: document not in relevant)}, relevance)["q"]
    assert (best["MRR@10"], best["recall@10"]) == (1, 1)
    assert best["nDCG@10"] == pytest.approx(1)
