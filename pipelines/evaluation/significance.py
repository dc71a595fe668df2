"""Confidence intervals and paired tests by resampling; the same numbers give the same result on every run."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
"""float64 `[n, columns]`, a row a question."""
Statistic = Callable[[Table], float]

SEED = 20_231
RESAMPLES = 2_000
PERMUTATIONS = 9_999
LEVEL = 0.95


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


def randomization_p(before: Table, after: Table, statistic: Statistic = mean, permutations: int = PERMUTATIONS) -> float:
    """The two-sided p-value of the paired randomization test: how often a difference as large arises when each question's pair is swapped by chance.

    Recommended for retrieval by Smucker, Allan and Carterette, "A Comparison of Statistical Significance Tests for Information Retrieval
    Evaluation" (2007). The observed assignment counts as one, so that p is never 0 (Phipson and Smyth 2010).
    """
    if np.array_equal(before, after):
        return 1.0
    random = np.random.default_rng(SEED)
    if statistic is mean:
        differences = _flipped_means(after[:, 0] - before[:, 0], permutations, random)
    else:
        differences = np.array([_swapped(before, after, statistic, random) for _ in range(permutations)])
    # Sums in another order differ in their last bits.
    observed = abs(statistic(after) - statistic(before)) - 1e-12
    return float((1 + np.sum(np.abs(differences) >= observed)) / (1 + permutations))


def _flipped_means(differences: NDArray[np.float64], permutations: int, random: np.random.Generator) -> NDArray[np.float64]:
    """The mean difference, float64 `[permutations]`, where each question's sign is that of a coin: swapping a pair, for means. Ties don't matter."""
    changed = differences[differences != 0]
    signs = (random.integers(0, 2, len(changed), dtype=np.int8) * 2 - 1 for _ in range(permutations))
    return np.fromiter((float(changed @ sign) for sign in signs), np.float64, permutations) / len(differences)


def _swapped(before: Table, after: Table, statistic: Statistic, random: np.random.Generator) -> float:
    swap = random.integers(0, 2, (len(before), 1)).astype(bool)
    return statistic(np.where(swap, before, after)) - statistic(np.where(swap, after, before))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number after Holm (1979), in the given order: no false alarm in any test but with the chosen probability."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected
