"""How the scores of the dense and the lexical channel become one ranking."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

ENOUGH: Final = 0.8
MOST: Final = 0.85

Scores = Mapping[int, float]
"""Chunk id → score of one channel, higher is better."""


def convex(dense: Scores, lexical: Scores, weight: float) -> dict[int, float]:
    """`weight * dense + (1 - weight) * lexical` over normalized scores; a chunk that a channel knows nothing of has 0 there.

    Cosines are min-max normalized over the candidates. BM25 is divided by its maximum: its minimum is 0 by nature, and the lowest candidate is
    far above it. After Bruch, Gai, Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval" (2023), section 4. Scores are in [0, 1].
    """
    of_dense, of_lexical = _min_max(dense), _by_max(lexical)
    return {
        chunk: weight * of_dense.get(chunk, 0.0) + (1 - weight) * of_lexical.get(chunk, 0.0)
        for chunk in of_dense.keys() | of_lexical.keys()
    }  # fmt: skip


def dense_share(weight: float, gain: float, lexical: Scores, rarity: Mapping[str, float]) -> float:
    """The dense channel's weight for a question whose words have this `rarity`: `weight`, and more where the words are hardly found.

    The best BM25 is held against the sum of the rarities, about what a short passage with every word once would have. What it lacks of
    ENOUGH of that, times `gain`, is added, up to MOST.
    """
    total = sum(rarity.values())
    found = max(lexical.values(), default=0.0) / total if total else ENOUGH
    return max(weight, min(MOST, weight + gain * max(0.0, ENOUGH - found)))


def rrf(rankings: Iterable[Sequence[int]], k: int) -> dict[int, float]:
    """Reciprocal rank fusion: the sum of `1 / (k + rank)` over the rankings (best first, ranks from 1) that hold the chunk.

    Cormack, Clarke, Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods" (2009).
    """
    fused: dict[int, float] = {}
    for ranking in rankings:
        for rank, chunk in enumerate(ranking, start=1):
            fused[chunk] = fused.get(chunk, 0.0) + 1 / (k + rank)
    return fused


def ranked(scores: Scores) -> list[int]:
    """Chunk ids by score, best first; equal scores by id, so that the same index gives the same answer."""
    return sorted(scores, key=lambda chunk: (-scores[chunk], chunk))


def _min_max(scores: Scores) -> dict[int, float]:
    """Scores moved to [0, 1]. Where all are equal, each is as good as the best: 1."""
    if not scores:
        return {}
    lowest, highest = min(scores.values()), max(scores.values())
    spread = highest - lowest
    return {chunk: (score - lowest) / spread if spread else 1.0 for chunk, score in scores.items()}


def _by_max(scores: Scores) -> dict[int, float]:
    """Positive scores as shares of the best one."""
    highest = max(scores.values(), default=0.0)
    return {chunk: score / highest for chunk, score in scores.items()} if highest > 0 else {}
