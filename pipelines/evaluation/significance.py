"""Confidence intervals and paired tests by resampling; the same numbers give the same result on every run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
"""float64 `[n, columns]`, a row a question."""
Statistic = Callable[[Table], float]

SEED = 20_231
RESAMPLES = 2_000
PERMUTATIONS = 9_999
LEVEL = 0.95
_BATCH = 500
_NOTHING = 1e-12


def mean(table: Table) -> float:
    """The mean of the first column."""
    return float(table[:, 0].mean())


def bootstrap_interval(table: Table, statistic: Statistic = mean, resamples: int = RESAMPLES) -> tuple[float, float]:
    """The percentile interval of `statistic` at LEVEL (Efron and Tibshirani 1993, ch. 13), from rows drawn with replacement.

    Draws for which the statistic is NaN are left out. (NaN, NaN) where nothing is left.
    """
    if not len(table):
        return float("nan"), float("nan")
    random = np.random.default_rng(SEED)
    values = np.array([statistic(table[random.integers(0, len(table), len(table))]) for _ in range(resamples)])
    if np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def difference_interval(before: Table, after: Table, statistic: Statistic = mean) -> tuple[float, float]:
    """The bootstrap interval of `statistic(after) - statistic(before)`; the rows of both belong to the same questions and are drawn together."""
    width = before.shape[1]
    return bootstrap_interval(np.hstack([before, after]), lambda both: statistic(both[:, width:]) - statistic(both[:, :width]))


@dataclass(frozen=True)
class Paired:
    """A measure in two runs: `questions`, int64 `[n]`, says which question (from 0) each row of `before` and `after` belongs to."""

    questions: NDArray[np.int64]
    before: Table
    after: Table
    statistic: Statistic = mean

    @property
    def difference(self) -> float:
        """`statistic(after) - statistic(before)`."""
        return self.statistic(self.after) - self.statistic(self.before)


class PValues(NamedTuple):
    """How probable a difference as large, in the same direction, is by chance: in the measure alone, and in any measure of the family."""

    alone: float
    in_family: float


def randomization_test(measures: Sequence[Paired], questions: int, permutations: int = PERMUTATIONS) -> list[PValues]:
    """One-sided p-values of the paired randomization test: how often chance differs as much when coins swap the two runs of each question.

    Recommended for retrieval by Smucker, Allan and Carterette, "A Comparison of Statistical Significance Tests for Information Retrieval
    Evaluation" (2007). A coin swaps a question in all measures, so that the correction for their number, the step-down maxT of Westfall and Young
    (1993, algorithm 4.1) over differences in units of their standard deviation, knows how they hang together: recall, MRR and nDCG of a mode count
    nearly as one. The observed assignment counts as one throw, so that p is never 0 (Phipson and Smyth 2010).
    """
    random = np.random.default_rng(SEED)
    null = np.vstack([_differences(measures, size, questions, random) for size in _batches(permutations)])
    scale = np.sqrt(np.mean(null**2, axis=0))
    is_changed = scale > _NOTHING
    scale[~is_changed] = 1.0
    thrown = null / scale
    # Sums in another order differ in their last bits.
    observed = np.array([abs(measure.difference) for measure in measures]) / scale - _NOTHING
    alone = (1 + np.sum(thrown >= observed, axis=0)) / (1 + permutations)
    in_family = _step_down(thrown, observed)
    return [PValues(float(p), float(q)) if changed else PValues(1.0, 1.0) for p, q, changed in zip(alone, in_family, is_changed, strict=True)]


def _batches(permutations: int) -> Iterator[int]:
    for start in range(0, permutations, _BATCH):
        yield min(_BATCH, permutations - start)


def _differences(measures: Sequence[Paired], throws: int, questions: int, random: np.random.Generator) -> Table:
    """The differences, float64 `[throws, measures]`, after swapping the questions by `throws` series of coins."""
    is_swapped = random.integers(0, 2, (throws, questions), dtype=np.int8).astype(bool)
    return np.column_stack([_thrown(measure, is_swapped[:, measure.questions]) for measure in measures])


def _thrown(measure: Paired, is_swapped: NDArray[np.bool_]) -> NDArray[np.float64]:
    if measure.statistic is mean:
        # To swap the two values of a question is to turn the sign of its difference.
        return np.where(is_swapped, -1.0, 1.0) @ (measure.after - measure.before)[:, 0] / len(measure.before)
    return np.array([_swapped(measure, coins[:, None]) for coins in is_swapped])


def _swapped(measure: Paired, coins: NDArray[np.bool_]) -> float:
    return measure.statistic(np.where(coins, measure.before, measure.after)) - measure.statistic(np.where(coins, measure.after, measure.before))


def _step_down(thrown: Table, observed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each measure against the largest chance difference among itself and those that moved less; never below the one that moved more."""
    order = np.argsort(-observed)
    largest = np.maximum.accumulate(thrown[:, order[::-1]], axis=1)[:, ::-1]
    p_values = (1 + np.sum(largest >= observed[order], axis=0)) / (1 + len(thrown))
    corrected = np.empty(len(observed))
    corrected[order] = np.maximum.accumulate(p_values)
    return corrected
