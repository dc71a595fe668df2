"""The lexical channel: BM25 over titles, headings and texts, from what the full-text index of the store knows of each term.

FTS5 finds the same with `bm25()` and reads three times, for every question, where each of its words stands: 14 ms a question at 100,000
chunks. Here that is read once a term and kept: 1 ms a question, 4 where it has to be read. Nothing is written, and a process that starts
reads anew what it is asked for.
"""

import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import StoreCorrupt
from core.words import content_words, stem
from services.retriever import lexical
from services.retriever.chunk_table import DAMAGED, NEVER, ChunkTable, Rows, numbers
from services.retriever.highest import highest
from services.retriever.postings import Posting, Postings
from services.retriever.schema import ChunkIds
from services.retriever.scope import Scope
from services.retriever.tokenizing import terms_of_word, tokenizer

_TEXTS: Final = "SELECT id, title, headings, text FROM chunk_words WHERE id"
# Chunks that are new since the last search: more of them are not cut into terms, but read where the full-text index has them.
_AT_ONCE: Final = 512
_COMPACT_AFTER: Final = 2_048
_COMPACT_SHARE: Final = 0.2
_NONE: Final = np.empty(0, np.int64)


class _Tables(NamedTuple):
    """They have every chunk that was there at the change `since` or later."""

    chunks: ChunkTable
    postings: Postings
    since: int


class _Seen(NamedTuple):
    """What one committed state has: `total` chunks of `terms` terms on the whole are among `rows`, at the change `version`."""

    rows: Rows
    postings: Postings
    version: int
    any_removed: bool
    total: int
    terms: int


class WordIndex:
    """Finds chunks by their words in the state that a connection sees. Thread-safe: searches run side by side, also while others read or change.

    `follow` has to be called once before the first search, and after each change of the store.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._lock = threading.Lock()
        self._tables = self._empty(0)

    def search(
        self, connection: sqlite3.Connection, query: str, k: int, allowed: ChunkIds | None = None, also: Sequence[int] = ()
    ) -> dict[int, float]:
        """BM25 of the `k` best chunks that hold a word of `query`, among `allowed` where it is given; above 0, best first, ties by id.

        Those of the chunks `also` that hold a word follow, by the same measure. How rare a word is counts over the whole store, whatever
        is allowed.
        """
        seen = self._seen(connection)
        scores = self._scores(connection, seen, lexical.searched_words(query))
        if allowed is not None:
            scores = _only(scores, seen.rows.positions(allowed))
        (best,) = highest(scores.reshape(1, -1), k, above=0.0)
        others = seen.rows.positions(np.array(sorted(also), np.int64))
        others = others[scores[others] > 0]
        others = others[np.argsort(-scores[others], kind="stable")]
        positions = np.concatenate([best, others])
        return dict(zip(seen.rows.ids[positions].tolist(), scores[positions].tolist(), strict=True))

    def rarity(self, connection: sqlite3.Connection, query: str) -> dict[str, float]:
        """How rare (`lexical.rarity`) the stems of the first 64 content words of `query` are in the store."""
        seen = self._seen(connection)
        words = list(dict.fromkeys(content_words(query)))[: lexical.MAX_TERMS]
        return {stem(word): lexical.rarity(seen.total, self._holding(connection, seen, word)) for word in words}

    def follow(self, connection: sqlite3.Connection, removed: ChunkIds = _NONE) -> None:
        """Take in what is new in the state that `connection` sees, whose change has `removed` these chunks; about 0.2 ms a chunk."""
        version = _version(connection)
        with self._lock:
            if not self._tables.chunks.last:
                self._tables = self._tables._replace(since=version)
            self._extend(self._tables, connection)
            if removed.size:
                self._tables.chunks.remove(removed, version)

    def compact(self, connection: sqlite3.Connection) -> None:
        """Leave behind what is gone where it has become much. Searches go on."""
        before = self._tables
        if before.chunks.removals <= _COMPACT_AFTER + _COMPACT_SHARE * before.chunks.rows.ids.size:
            return
        version = _version(connection)
        fresh = self._empty(version)
        self._extend(fresh, connection)
        with self._lock:
            old = self._tables.chunks.rows
            for change in np.unique(old.removed_by[(old.removed_by > version) & (old.removed_by < NEVER)]).tolist():
                fresh.chunks.remove(old.ids[old.removed_by == change], change)
            fresh.chunks.append(old.where((old.ids > fresh.chunks.last) & (old.removed_by > version)))
            fresh.postings.restart(fresh.chunks.rows.ids.size)
            self._tables = fresh

    def ids(self) -> ChunkIds:
        """The ids of all chunks that are there, rising."""
        with self._lock:
            rows = self._tables.chunks.rows
            there: ChunkIds = rows.ids[rows.removed_by == NEVER]
        return there

    # -- what a state has --------------------------------------------------------------------------------------------------------

    def _seen(self, connection: sqlite3.Connection) -> _Seen:
        version, last = _version(connection), int(connection.execute("SELECT coalesce(max(id), 0) FROM chunks").fetchone()[0])
        total, terms = _totals(connection)
        with self._lock:
            tables = self._tables if version >= self._tables.since else self._empty(version)
            if last > tables.chunks.last:
                self._extend(tables, connection)
            chunks, postings, _ = tables
            return _Seen(chunks.rows.below(last), postings, version, chunks.removals > 0, total, terms)

    def _extend(self, tables: _Tables, connection: sqlite3.Connection) -> None:
        chunks, postings, _ = tables
        new = chunks.extend(connection)
        if not new.size:
            return
        if new.size > _AT_ONCE:
            postings.restart(chunks.rows.ids.size)
            return
        within = Scope.of_chunks(new.tolist())
        texts = connection.execute(f"{_TEXTS} IN ({within.sql})", within.parameters).fetchall()
        postings.add(tokenizer().occurrences(texts), chunks.rows.ids)

    def _empty(self, since: int) -> _Tables:
        return _Tables(ChunkTable(), Postings(self._budget), since)

    # -- scores ------------------------------------------------------------------------------------------------------------------

    def _scores(self, connection: sqlite3.Connection, seen: _Seen, words: Sequence[str]) -> NDArray[np.float32]:
        """BM25 by position, float32 `[n]`; 0 for chunks that hold no word or are gone. A term of two words of the question counts twice."""
        scores = np.zeros(seen.rows.ids.size, np.float32)
        for term, often in Counter(term for word in words for term in terms_of_word(word)).items():
            posting = self._posting(connection, seen, term)
            if posting.positions.size:
                if not (seen.total and seen.terms):
                    raise StoreCorrupt(DAMAGED)
                weight = often * lexical.idf(seen.total, posting.positions.size)
                of_term = lexical.bm25(posting.times, seen.rows.lengths[posting.positions], seen.terms / seen.total)
                scores[posting.positions] += np.float32(weight) * of_term
        return scores

    def _posting(self, connection: sqlite3.Connection, seen: _Seen, term: str) -> Posting:
        """The posting of a term without the chunks that are gone."""
        posting = seen.postings.of(connection, term, seen.rows.ids, seen.version)
        if not seen.any_removed:
            return posting
        there = seen.rows.removed_by[posting.positions] > seen.version
        return posting._replace(positions=posting.positions[there], times=posting.times[there])

    def _holding(self, connection: sqlite3.Connection, seen: _Seen, word: str) -> int:
        """How many chunks hold a term of `word`."""
        terms = {term for part in lexical.searched_words(word) for term in terms_of_word(part)}
        found = [self._posting(connection, seen, term).positions for term in terms]
        return int(np.unique(np.concatenate(found)).size) if len(found) > 1 else sum(positions.size for positions in found)


def _only(scores: NDArray[np.float32], positions: NDArray[np.intp]) -> NDArray[np.float32]:
    kept = np.zeros_like(scores)
    kept[positions] = scores[positions]
    return kept


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT value FROM meta WHERE key = 'index_version'").fetchone()[0])


def _totals(connection: sqlite3.Connection) -> tuple[int, int]:
    """Chunks, and terms of all chunks, as the full-text index counts them: its record 1 begins with the one, and a number a column follows."""
    row = connection.execute("SELECT block FROM chunk_index_data WHERE id = 1").fetchone()
    chunks, *terms = map(int, numbers(row[0])) if row and isinstance(row[0], bytes) and row[0] else (0,)
    return chunks, sum(terms)
