from pathlib import Path

import pytest

from core.errors import ErrorInfo
from pipelines.evaluation.question_sets import QuestionSet, read_question_set
from pipelines.evaluation.report import Row
from pipelines.evaluation.summarizing import curve, latencies, summarize, with_retrieval_scores
from tests.pipelines.evaluation.making import answered, make_set, row


@pytest.fixture
def of(tmp_path: Path) -> QuestionSet:
    return read_question_set(make_set(tmp_path / "tiny"))


def test_rankings_are_scored_by_mode_for_answerable_questions_alone(of: QuestionSet) -> None:
    rows = [
        Row(id="q1", answerable=True, found={"dense": ("d2", "d1"), "lexical": ("d1",)}),
        Row(id="q2", answerable=True, error=ErrorInfo(code="internal", message="")),
        Row(id="q3", answerable=False, found={"dense": ("d1",)}),
    ]
    first, failed, unanswerable = with_retrieval_scores(rows, of)
    assert (first.scores["dense MRR@10"], first.scores["lexical MRR@10"]) == (0.5, 1.0)
    assert (failed.scores, unanswerable.scores) == ({}, {})


def test_every_measure_has_its_number_of_questions_and_an_interval_around_it(of: QuestionSet) -> None:
    rows = [
        row("q1", confidence=0.9, contains=1.0, answered=1.0),
        row("q2", confidence=0.4, contains=0.0, answered=1.0),
        row("q3", answerable=False, confidence=0.5, refused=1.0),
    ]
    measures = {measure.name: measure for measure in summarize(rows, of)}
    assert list(measures) == ["contains", "answered", "refused", "AUROC", "refused at 5 % false refusal", "AURC (lower is better)"]
    assert {name: measure.n for name, measure in measures.items()} == dict(zip(measures, (2, 2, 1, 3, 3, 3), strict=True))
    assert (measures["contains"].value, measures["AUROC"].value, measures["refused"].value) == (0.5, 0.5, 1)
    assert all(measure.low <= measure.value <= measure.high for measure in measures.values())


def test_measures_that_are_not_defined_are_left_out(of: QuestionSet) -> None:
    only_answerable = [row("q1", confidence=0.9, contains=1.0)]
    assert [measure.name for measure in summarize(only_answerable, of)] == ["contains", "AURC (lower is better)"]
    assert summarize([Row(id="q1", answerable=True, answer=answered(None))], of) == ()


def test_the_curve_counts_every_answered_unanswerable_question_as_wrong(of: QuestionSet) -> None:
    rows = [
        row("q1", confidence=0.9, contains=1.0),
        row("q3", answerable=False, confidence=0.5, refused=0.0),
        row("q2", confidence=0.2, contains=1.0),
    ]
    assert curve(rows, of) == ((0.3333, 0.6667, 1.0), (0.0, 0.5, 0.3333))
    assert curve([], of) == ((), ())


def test_a_long_curve_keeps_its_ends(of: QuestionSet) -> None:
    rows = [row("q1", confidence=number / 1_000, contains=1.0) for number in range(1_000)]
    coverage, risk = curve(rows, of)
    assert (len(coverage), len(risk), coverage[0], coverage[-1]) == (200, 200, 0.001, 1.0)


def test_latencies_are_quantiles_by_stage() -> None:
    rows = [Row(id=str(number), answerable=True, timings_ms={"answer": {"total": float(number)}}) for number in range(101)]
    (total,) = latencies([*rows, Row(id="retrieval only", answerable=True)])
    assert (total.journey, total.stage, total.p50_ms, total.p95_ms, total.n) == ("answer", "total", 50, 95, 101)
