"""The highest of very many scores."""

from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_GROUP: Final = 64


def highest(scores: NDArray[np.float32], k: int, above: float) -> list[NDArray[Any]]:
    """For each row of `scores` (`[m, n]`) the positions of its `k` highest that are above `above`, best first, equal ones by position.

    Fewer where there are fewer. The k-th highest of the maxima of groups is no higher than the k-th highest score, so only scores from there on
    are sorted: 0.1 ms a row instead of the 0.7 of `np.argpartition` (100,000 scores). In few calls, because each gives up the GIL and waits for it.
    """
    rows, count = scores.shape
    groups = count // _GROUP
    chosen = scores > above
    if groups > k:
        maxima = scores[:, : groups * _GROUP].reshape(rows, groups, _GROUP).max(axis=2)
        chosen &= scores >= np.partition(maxima, groups - k, axis=1)[:, [groups - k]]
    row, position = np.nonzero(chosen)
    starts = np.searchsorted(row, np.arange(rows + 1))
    found = [position[start:end] for start, end in pairwise(starts)]
    return [positions[np.argsort(-of_row[positions], kind="stable")[:k]] for of_row, positions in zip(scores, found, strict=True)]
