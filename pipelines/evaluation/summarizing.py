"""From a set's rows to its measures, latencies and curve."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from pipelines.evaluation import answers
from pipelines.evaluation.abstention import Floats, area_under, auroc, refusals_at, risk_coverage
from pipelines.evaluation.question_sets import QuestionSet
from pipelines.evaluation.rankings import MEASURES, score_rankings
from pipelines.evaluation.report import Latency, Measure, Row
from pipelines.evaluation.significance import Statistic, Table, bootstrap_interval, mean

ANSWER_MEASURES: Final = (
    *(f"contains@{count}" for count in answers.SENTENCES),
    "contains",
    "F1",
    "highlight F1",
    "ROUGE-L",
    "citation precision",
    "citation recall",
    "answered",
    "refused",
)
AUROC: Final = "AUROC"
_MAX_POINTS = 200


def with_retrieval_scores(rows: Sequence[Row], of: QuestionSet) -> tuple[Row, ...]:
    """The rows with their retrieval scores, named `MODE MEASURE`, where the question is answerable and something is relevant to it."""
    scores: dict[str, dict[str, float]] = {row.id: {} for row in rows}
    for mode in dict.fromkeys(mode for row in rows for mode in row.found):
        rankings = {row.id: row.found[mode] for row in rows if mode in row.found and row.answerable}
        for question, found in score_rankings(rankings, of.relevance).items():
            scores[question] |= {f"{mode} {name}": value for name, value in found.items()}
    return tuple(row.model_copy(update={"scores": {**scores[row.id], **row.scores}}) for row in rows)


def summarize(rows: Sequence[Row], of: QuestionSet) -> tuple[Measure, ...]:
    """Every measure that any question of the set has a value for, with its interval. `rows` have their retrieval scores."""
    confident = confidence_table(rows)
    known = judged_answers(rows, of)
    found = [
        *(_measure(name, scores_table(rows, name), mean) for name in score_names(rows)),
        _measure(AUROC, confident, auroc_of),
        _measure("refused at 5 % false refusal", confident, _refusals_of),
        _measure("AURC (lower is better)", known, lambda table: area_under(*risk_coverage(table[:, 0], table[:, 1]))),
    ]
    return tuple(measure for measure in found if measure.value is not None)


def score_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """The names of the scores in `rows`: retrieval by mode, then the answers'."""
    present = {name for row in rows for name in row.scores}
    modes = dict.fromkeys(mode for row in rows for mode in row.found)
    ordered = (*(f"{mode} {name}" for mode in modes for name in MEASURES), *ANSWER_MEASURES)
    return tuple(name for name in ordered if name in present)


def scores_table(rows: Sequence[Row], name: str) -> Table:
    """The values of one score, float64 `[n, 1]`, of the rows that have it."""
    return np.array([[row.scores[name]] for row in rows if name in row.scores], dtype=np.float64).reshape(-1, 1)


def confidence_table(rows: Sequence[Row]) -> Table:
    """float64 `[n, 2]`: confidence, and 1 where the question is answerable; rows without a confidence are left out."""
    pairs = [(row.answer.confidence, float(row.answerable)) for row in rows if row.answer and row.answer.confidence is not None]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)


def judged_answers(rows: Sequence[Row], of: QuestionSet) -> Table:
    """float64 `[n, 2]`: confidence, and 1 where the answer contains the right one.

    For answerable questions that have answers, and for the unanswerable ones, which no answer is right for.
    """
    with_answers = {question.id for question in of.questions if question.answers and question.answerable}
    pairs = [
        (row.answer.confidence, row.scores.get("contains", 0.0))
        for row in rows
        if row.answer and row.answer.confidence is not None and (row.id in with_answers or not row.answerable)
    ]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)


def curve(rows: Sequence[Row], of: QuestionSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(coverage, risk) by falling confidence, at most 200 points."""
    table = judged_answers(rows, of)
    coverage, risk = risk_coverage(table[:, 0], table[:, 1])
    places = np.unique(np.linspace(0, len(coverage) - 1, min(_MAX_POINTS, len(coverage))).astype(int))
    return _rounded(coverage[places]), _rounded(risk[places])


def latencies(rows: Sequence[Row]) -> tuple[Latency, ...]:
    """p50 and p95 of each stage of each journey, in the order in which they come."""
    stages = dict.fromkeys((journey, stage) for row in rows for journey, timings in row.timings_ms.items() for stage in timings)
    return tuple(_latency(journey, stage, rows) for journey, stage in stages)


def auroc_of(table: Table) -> float:
    """AUROC of a `confidence_table`."""
    return auroc(*_split(table))


def _refusals_of(table: Table) -> float:
    return refusals_at(*_split(table))


def _split(table: Table) -> tuple[Floats, Floats]:
    answerable = table[:, 1] == 1
    return table[answerable, 0], table[~answerable, 0]


def _measure(name: str, table: Table, statistic: Statistic) -> Measure:
    value = statistic(table) if len(table) else math.nan
    low, high = bootstrap_interval(table, statistic) if not math.isnan(value) else (math.nan, math.nan)
    return Measure(name=name, value=_number(value), low=_number(low), high=_number(high), n=len(table))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def _latency(journey: str, stage: str, rows: Sequence[Row]) -> Latency:
    values = list(_values(journey, stage, rows))
    median, high = np.quantile(values, [0.5, 0.95])
    return Latency(journey=journey, stage=stage, p50_ms=round(float(median), 2), p95_ms=round(float(high), 2), n=len(values))


def _values(journey: str, stage: str, rows: Sequence[Row]) -> Iterator[float]:
    for row in rows:
        timings = row.timings_ms.get(journey, {})
        if stage in timings:
            yield timings[stage]
