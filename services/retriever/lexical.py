"""The lexical channel: BM25 over titles, headings and texts with SQLite's FTS5."""

# What is put into statements are constants and question marks; every value is bound.
# ruff: noqa: S608

import math
import re
import sqlite3
from collections.abc import Sequence
from typing import Final

from core.words import FUNCTION_WORDS, content_words, stem
from services.retriever.scope import Scope

MAX_TERMS: Final = 64
TITLE_WEIGHT: Final = 1.0  # SQuAD, nDCG@10 of BM25 at 0, 0.5, 1, 2: .834 .856 .862 .860, so a word of the title counts like one of the text.
HEADINGS_WEIGHT: Final = 1.0
TEXT_WEIGHT: Final = 1.0

# What the tokenizer `unicode61` takes for a word: letters and digits of any script, with the diacritics it folds away (U+0300 to U+0331), and
# no underscore. `core.words` differs in both, and folds cases (`ß` to `ss`) that the tokenizer keeps.
# Where the two disagree about a rare character, the tokenizer makes a phrase of the term, which is still text and not syntax.
#
# Scripts without spaces (Chinese, Japanese, Thai) come out as one word a run, here as in the index, so that they match run by run only.
# There is no segmentation; for them the dense channel carries the search.
_WORD: Final = re.compile(r"(?:[^\W_]|[\u0300-\u0331])+")

# With what `don't` and `we'll` leave behind, which is as common and says as little.
_EMPTY: Final = FUNCTION_WORDS | {"d", "ll", "m", "re", "s", "t", "ve"}


def match_expression(query: str) -> str:
    """`query` as an FTS5 expression: any of its words, each quoted, so that no text is syntax; "" where it has no word.

    Function words are left out unless there are no others, and so is what follows the first 64 distinct words.
    """
    words = dict.fromkeys(_WORD.findall(query.lower()))
    telling = [word for word in words if word not in _EMPTY]
    return " OR ".join(f'"{word}"' for word in (telling or list(words))[:MAX_TERMS])


def search(connection: sqlite3.Connection, query: str, k: int, scope: Scope | None = None, also: Sequence[int] = ()) -> dict[int, float]:
    """BM25 of the `k` best chunks that hold a word of `query`, within `scope` where it is given; above 0, best first, ties by id.

    Those of the chunks `also` that hold a word follow, by the same measure. How rare a word is counts over the whole store, whatever the scope.
    """
    expression = match_expression(query)
    if not expression:
        return {}
    # The unary plus keeps SQLite from running the match once for every id of the scope.
    within, parameters = (f"AND +rowid IN ({scope.sql})", scope.parameters) if scope else ("", ())
    others = Scope.of_chunks(also)
    rows = connection.execute(
        f"""
        WITH found AS MATERIALIZED (
            SELECT rowid AS chunk, -bm25(chunk_index, {TITLE_WEIGHT}, {HEADINGS_WEIGHT}, {TEXT_WEIGHT}) AS score
            FROM chunk_index WHERE chunk_index MATCH ? {within}
        )
        SELECT * FROM (SELECT chunk, score FROM found ORDER BY score DESC, chunk LIMIT ?)
        UNION ALL
        SELECT * FROM (SELECT chunk, score FROM found WHERE chunk IN ({others.sql}) ORDER BY score DESC, chunk)
        """,
        (expression, *parameters, k, *others.parameters),
    )
    return dict(rows)


def rarity(connection: sqlite3.Connection, query: str) -> dict[str, float]:
    """Inverse document frequency, above 0, of the stems of the first 64 content words of `query`: `ln(1 + (N - n + 0.5) / (n + 0.5))`, where
    n of the N chunks in the store hold the word (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009, kept above 0 by the 1).
    """
    words = list(dict.fromkeys(content_words(query)))[:MAX_TERMS]
    (chunks,) = connection.execute("SELECT total(chunks) FROM collections").fetchone()
    counts = {stem(word): _chunks_with(connection, word) for word in words}
    return {word: math.log(1 + max(0.0, chunks - count + 0.5) / (count + 0.5)) for word, count in counts.items()}


def _chunks_with(connection: sqlite3.Connection, word: str) -> int:
    expression = match_expression(word)
    return int(connection.execute("SELECT count(*) FROM chunk_index WHERE chunk_index MATCH ?", (expression,)).fetchone()[0]) if expression else 0
