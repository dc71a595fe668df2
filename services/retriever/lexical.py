"""The words of a query, and BM25: how well a chunk that holds some of them answers it."""

import math
import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.words import FUNCTION_WORDS

MAX_TERMS: Final = 64

# As FTS5's own bm25() has them. A word of the title or of a heading counts like one of the text: on SQuAD nDCG@10 of BM25 was
# .834 .856 .862 .860 where one of the title counted 0, 0.5, 1 and 2 times.
K1: Final = 1.2
B: Final = 0.75
LEAST_IDF: Final = 1e-6

# What the tokenizer `unicode61` takes for a word: letters and digits of any script, with the diacritics it folds away (U+0300 to U+0331), and
# no underscore. `core.words` differs in both, and folds cases (`ß` to `ss`) that the tokenizer keeps.
# Where the two disagree about a rare character, the tokenizer cuts the word into several terms.
#
# Scripts without spaces (Chinese, Japanese, Thai) come out as one word a run, here as in the index, so that they match run by run only.
# There is no segmentation; for them the dense channel carries the search.
_WORD: Final = re.compile(r"(?:[^\W_]|[\u0300-\u0331])+")

# With what `don't` and `we'll` leave behind, which is as common and says as little.
_EMPTY: Final = FUNCTION_WORDS | {"d", "ll", "m", "re", "s", "t", "ve"}


def searched_words(query: str) -> list[str]:
    """The distinct words of `query` that are looked for, in order.

    Function words are left out unless there are no others, and so is what follows the first 64 distinct words.
    """
    words = dict.fromkeys(_WORD.findall(query.lower()))
    telling = [word for word in words if word not in _EMPTY]
    return (telling or list(words))[:MAX_TERMS]


def idf(chunks: int, holding: int) -> float:
    """Inverse document frequency in BM25, where `holding` of `chunks` hold the term: `ln((N - n + 0.5) / (n + 0.5))`, kept above 0 as FTS5 does.

    Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), section 3.
    """
    return max(LEAST_IDF, math.log(max(0.5, chunks - holding + 0.5) / (holding + 0.5)))


def rarity(chunks: int, holding: int) -> float:
    """Inverse document frequency that is above 0 for every word: `ln(1 + (N - n + 0.5) / (n + 0.5))`."""
    return math.log(1 + max(0.0, chunks - holding + 0.5) / (holding + 0.5))


def bm25(times: NDArray[Any], lengths: NDArray[np.float32], mean_length: float) -> NDArray[np.float32]:
    """What a term adds to the score of each chunk that holds it, before it is weighed by its `idf`.

    `times` says how often a chunk holds the term, `lengths` how many terms it has; both `[n]`.
    """
    often = times.astype(np.float32)
    return (often * np.float32(K1 + 1) / (often + lengths * np.float32(K1 * B / mean_length) + np.float32(K1 * (1 - B)))).astype(np.float32)
