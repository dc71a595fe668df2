"""A run against an earlier one, question by question."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from core.errors import BadEvaluation
from core.schemas import Frozen
from pipelines.evaluation.report import Report, Row, SetReport
from pipelines.evaluation.significance import Statistic, Table, difference_interval, holm, mean, randomization_p
from pipelines.evaluation.summarizing import AUROC, auroc_of, score_names

ALPHA = 0.05
"""The chance of a false alarm in a set, all its measures together."""
_SLOW_PERMUTATIONS = 1_999

Verdict = Literal["loss", "gain", "same"]


class Difference(Frozen):
    """A measure on the `n` questions that have it in both runs: `after - before` with its 95 % interval.

    `p` is that of the paired randomization test, `p_holm` the same corrected for the number of measures of the set.
    """

    name: str
    before: float
    after: float
    low: float
    high: float
    p: float
    p_holm: float
    n: int

    @property
    def verdict(self) -> Verdict:
        """`loss` or `gain` where the difference is significant at ALPHA."""
        if self.p_holm > ALPHA or self.after == self.before:
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


def compare(baseline: Report, now: Report) -> tuple[Comparison, ...]:
    """Each set of `now` against the same set of `baseline`.

    Raises BadEvaluation where the baseline lacks the set, holds another version of it, or was asked with another `top_k`.
    """
    before = {report.name: report for report in baseline.sets}
    for report in now.sets:
        if report.name not in before:
            raise BadEvaluation(f"the baseline holds no set {report.name!r}, only {', '.join(sorted(before))}")
        if before[report.name].digest != report.digest:
            raise BadEvaluation(f"the set {report.name!r} is not the one that the baseline was made of: make the baseline again")
    if baseline.options.top_k != now.options.top_k:
        raise BadEvaluation(f"the baseline was made with --top-k {baseline.options.top_k}, this run with {now.options.top_k}")
    return tuple(compare_sets(before[report.name], report) for report in now.sets)


def compare_sets(before: SetReport, after: SetReport) -> Comparison:
    """All measures that both reports have, on the questions that both have; questions that failed in either are left out."""
    first, second = ({row.id: row for row in report.rows if not row.error} for report in (before, after))
    shared = [(first[id_], second[id_]) for id_ in first if id_ in second]
    tables = dict(_tables(shared))
    tests = [_test(name, *pair) for name, pair in tables.items()]
    corrected = holm([test.p for test in tests])
    names = {*score_names(before.rows), *score_names(after.rows)}
    return Comparison(
        name=after.name,
        differences=tuple(test.model_copy(update={"p_holm": p}) for test, p in zip(tests, corrected, strict=True)),
        not_compared=tuple(sorted(names - set(tables))),
        missing=len(first.keys() ^ second.keys()),
    )


def _tables(shared: Sequence[tuple[Row, Row]]) -> Mapping[str, tuple[Table, Table]]:
    """The values of each measure before and after, float64 `[n, columns]` each, a row a question."""
    found: dict[str, tuple[Table, Table]] = {}
    for name in score_names([after for _, after in shared]):
        both = [(before.scores[name], after.scores[name]) for before, after in shared if name in before.scores and name in after.scores]
        if both:
            values = np.array(both, dtype=np.float64)
            found[name] = values[:, :1], values[:, 1:]
    if (confidences := _confidences(shared)) is not None:
        found[AUROC] = confidences
    return found


def _confidences(shared: Sequence[tuple[Row, Row]]) -> tuple[Table, Table] | None:
    """Rank of the confidence and answerability, before and after; None where either kind of question is missing.

    Ranks, because two runs may have confidences on different scales, which must not be swapped with one another (Venkatraman and Begg 1996).
    """
    both = [
        (before.answer.confidence, after.answer.confidence, float(before.answerable))
        for before, after in shared
        if before.answer and after.answer and before.answer.confidence is not None and after.answer.confidence is not None
    ]
    if len({answerable for _, _, answerable in both}) < 2:  # noqa: PLR2004 - answerable and unanswerable
        return None
    first, second, answerable = np.array(both, dtype=np.float64).T
    return np.column_stack([_ranks(first), answerable]), np.column_stack([_ranks(second), answerable])


def _ranks(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Ranks from 0, equal values sharing the mean of theirs."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") - 1) / 2


def _test(name: str, before: Table, after: Table) -> Difference:
    statistic: Statistic = auroc_of if name == AUROC else mean
    p = randomization_p(before, after, mean) if statistic is mean else randomization_p(before, after, statistic, _SLOW_PERMUTATIONS)
    low, high = difference_interval(before, after, statistic)
    values = {"before": statistic(before), "after": statistic(after), "low": low, "high": high}
    return Difference(name=name, **{key: round(value, 6) for key, value in values.items()}, p=p, p_holm=p, n=len(before))
