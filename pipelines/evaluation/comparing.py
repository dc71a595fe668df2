"""A run against an earlier one, question by question."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from core.errors import BadEvaluation
from core.schemas import Frozen
from pipelines.evaluation.abstention import Floats
from pipelines.evaluation.report import Report, Row, SetReport
from pipelines.evaluation.significance import Paired, PValues, difference_interval, randomization_test
from pipelines.evaluation.summarizing import AUROC, auroc_of, score_names

ALPHA = 0.05
"""The chance that any measure of a set is called a loss though nothing changed."""

Verdict = Literal["loss", "gain", "same"]


class Difference(Frozen):
    """A measure on the `n` questions that have it in both runs: `after - before` with its 95 % interval, and its `significance.PValues`."""

    name: str
    before: float
    after: float
    low: float
    high: float
    p: float
    p_family: float
    n: int

    @property
    def verdict(self) -> Verdict:
        """`loss` or `gain` where the difference is significant at ALPHA among all measures of the set."""
        if self.p_family > ALPHA:
            return "same"
        return "loss" if self.after < self.before else "gain"


class Comparison(Frozen):
    """A set in two runs. `not_compared` are measures that one of them lacks, `missing` the number of questions that one of them lacks."""

    name: str
    differences: tuple[Difference, ...]
    not_compared: tuple[str, ...]
    missing: int

    @property
    def losses(self) -> tuple[Difference, ...]:
        """The measures that fell significantly."""
        return tuple(difference for difference in self.differences if difference.verdict == "loss")


def check_baseline(baseline: Report, digests: Mapping[str, str], top_k: int) -> None:
    """Whether a run over the sets with these digests, by name, can be compared with `baseline`.

    Raises BadEvaluation where the baseline lacks a set, holds another version of it, or was asked with another `top_k`.
    """
    before = {report.name: report.digest for report in baseline.sets}
    for name, digest in digests.items():
        if name not in before:
            raise BadEvaluation(f"the baseline holds no set {name!r}, only {', '.join(sorted(before))}")
        if before[name] != digest:
            raise BadEvaluation(f"the set {name!r} is not the one that the baseline was made of: make the baseline again")
    if baseline.options.top_k != top_k:
        raise BadEvaluation(f"the baseline was made with --top-k {baseline.options.top_k}, this run with {top_k}")


def compare(baseline: Report, now: Report) -> tuple[Comparison, ...]:
    """Each set of `now` against the same set of a baseline that `check_baseline` lets pass."""
    before = {report.name: report for report in baseline.sets}
    return tuple(compare_sets(before[report.name], report) for report in now.sets)


def compare_sets(before: SetReport, after: SetReport) -> Comparison:
    """All measures that both reports have, on the questions that both have; questions that failed in either are left out."""
    first, second = ({row.id: row for row in report.rows if not row.error} for report in (before, after))
    shared = [(first[id_], second[id_]) for id_ in first if id_ in second]
    measures = _measures(shared)
    p_values = randomization_test(list(measures.values()), len(shared)) if measures else []
    names = {*score_names(before.rows), *score_names(after.rows)}
    return Comparison(
        name=after.name,
        differences=tuple(_difference(name, measure, p) for (name, measure), p in zip(measures.items(), p_values, strict=True)),
        not_compared=tuple(sorted(names - set(measures))),
        missing=len(first.keys() ^ second.keys()),
    )


def _measures(shared: Sequence[tuple[Row, Row]]) -> Mapping[str, Paired]:
    found = {name: _scores(name, shared) for name in score_names([after for _, after in shared])}
    found[AUROC] = _confidences(shared)
    return {name: measure for name, measure in found.items() if len(measure.questions)}


def _scores(name: str, shared: Sequence[tuple[Row, Row]]) -> Paired:
    both = [
        (place, before.scores[name], after.scores[name])
        for place, (before, after) in enumerate(shared)
        if name in before.scores and name in after.scores
    ]
    places, first, second = np.array(both, dtype=np.float64).reshape(-1, 3).T
    return Paired(places.astype(np.int64), first[:, None], second[:, None])


def _confidences(shared: Sequence[tuple[Row, Row]]) -> Paired:
    """Rank of the confidence and answerability, before and after; empty where either kind of question is missing.

    Ranks, because two runs may have confidences on different scales, which must not be swapped with one another (Venkatraman and Begg 1996).
    """
    both = [
        (place, before.answer.confidence, after.answer.confidence, float(before.answerable))
        for place, (before, after) in enumerate(shared)
        if before.answer and after.answer and before.answer.confidence is not None and after.answer.confidence is not None
    ]
    if len({answerable for *_, answerable in both}) == 1:
        both = []
    places, first, second, answerable = np.array(both, dtype=np.float64).reshape(-1, 4).T
    ranked, ranked_after = (np.column_stack([_ranks(values), answerable]) for values in (first, second))
    return Paired(places.astype(np.int64), ranked, ranked_after, auroc_of)


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, equal values sharing the mean of theirs."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") - 1) / 2


def _difference(name: str, measure: Paired, p: PValues) -> Difference:
    low, high = difference_interval(measure.before, measure.after, measure.statistic)
    values = {"before": measure.statistic(measure.before), "after": measure.statistic(measure.after), "low": low, "high": high}
    rounded = {key: round(value, 6) for key, value in values.items()}
    return Difference(name=name, **rounded, p=p.alone, p_family=p.in_family, n=len(measure.questions))
