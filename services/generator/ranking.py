"""Which sentences answer a question best, and which of them repeat each other."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from core.vectors import Vector, rounded
from core.words import content_words, share, stems


def relevance(rarity: Mapping[str, float], sentences: Sequence[str], cosines: Vector, passage_score: float) -> Vector:
    """How well each sentence answers, float32 `[n]` in about [0, 1]: the mean of its cosine with the question, the share of the question's
    words it holds (stems, weighted by `rarity`), and the score of its passage. docs/evaluation.md has what each adds on SQuAD.
    """
    close = [rounded(float(cosine)) for cosine in cosines]
    overlaps = np.array([share(rarity, stems(sentence)) for sentence in sentences], dtype=np.float32)
    return np.asarray((np.clip(close, 0, 1) + overlaps + passage_score) / 3, dtype=np.float32)


def jaccard(first: str, second: str) -> float:
    """Share of common words, 0 to 1."""
    a, b = set(content_words(first)), set(content_words(second))
    return len(a & b) / len(a | b) if a | b else 1.0


def first_of_repeats(texts: Sequence[str], same: float) -> list[int]:
    """Indices of the texts that say something new, in order: those that share less than `same` of their words with every one kept before, or differ
    from it in a number.
    """
    kept: list[tuple[int, frozenset[str], frozenset[str]]] = []
    for index, text in enumerate(texts):
        said = frozenset(content_words(text))
        numbers = frozenset(word for word in said if any(map(str.isdigit, word)))
        # Sets of this different sizes can't share so much: most pairs end there.
        repeats = (
            numbers == other_numbers and same * len(said) <= len(other) <= len(said) / same and len(said & other) >= same * len(said | other)
            for _, other, other_numbers in kept
        )
        if not any(repeats):
            kept.append((index, said, numbers))
    return [index for index, _, _ in kept]


def even(question: str) -> dict[str, float]:
    """All words of a question alike, for callers that know nothing of their rarity."""
    return dict.fromkeys(stems(question), 1.0)


def maximal_marginal_relevance(scores: Vector, similarity: Callable[[int, int], float], count: int, weight: float, same: float) -> list[int]:
    """Indices of at most `count` entries, best first, by maximal marginal relevance (Carbonell and Goldstein 1998):
    `weight * score - (1 - weight) * highest similarity to what is chosen already`. Ties go to the earlier entry.

    An entry whose similarity to a chosen one is `same` or more says nothing new and is left out, however few are chosen.
    """
    chosen: list[int] = []
    repeated = dict.fromkeys(range(len(scores)), 0.0)
    while repeated and len(chosen) < count:
        best = max(repeated, key=lambda index: weight * float(scores[index]) - (1 - weight) * repeated[index])
        chosen.append(best)
        del repeated[best]
        closer = {index: max(highest, similarity(index, best)) for index, highest in repeated.items()}
        repeated = {index: highest for index, highest in closer.items() if highest < same}
    return chosen
