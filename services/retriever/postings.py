"""Where a term stands: lists read from the full-text index once, kept as far as memory allows, and continued by what is added later."""

# The two tables that are read here are FTS5's own: `chunk_terms` (fts5vocab) has a row for every place of a term, by chunk.

import sqlite3
import threading
from array import array
from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from services.retriever.schema import ChunkIds
from services.retriever.tokenizing import Occurrence

_CHUNKS_WITH: Final = "SELECT group_concat(doc) FROM temp.chunk_terms WHERE term = ?"
_FOLD_AFTER: Final = 2_048
_MOST_TIMES: Final = np.iinfo(np.uint16).max


class Posting(NamedTuple):
    """The chunks that hold a term: their positions, int32 `[n]`, rising, and how often each holds it, uint16 `[n]`.

    It is complete for positions below `end`, but for chunks that were gone before the change `since`.
    """

    positions: NDArray[np.int32]
    times: NDArray[np.uint16]
    end: int
    since: int

    @classmethod
    def read(cls, connection: sqlite3.Connection, term: str, ids: ChunkIds, version: int) -> Self:
        """The posting of `term` in the state after change `version`, which `connection` sees; `ids` has every chunk of that state.

        As one string of numbers, because SQLite makes it without the GIL: half the time of a row a place.
        """
        (found,) = connection.execute(_CHUNKS_WITH, (term,)).fetchone()
        places = np.fromstring(found or "", np.int64, sep=",")
        starts = np.flatnonzero(np.diff(places, prepend=-1))
        times = np.diff(starts, append=places.size)
        positions = np.searchsorted(ids, places[starts])
        # All of them, but in a damaged index.
        here = ids.take(positions, mode="clip") == places[starts] if ids.size else np.zeros(starts.size, np.bool_)
        return cls(positions[here].astype(np.int32), np.minimum(times[here], _MOST_TIMES).astype(np.uint16), ids.size, version)

    def below(self, end: int) -> "Posting":
        """The part of it below position `end`."""
        cut = np.searchsorted(self.positions, end)
        return Posting(self.positions[:cut], self.times[:cut], min(self.end, end), self.since)

    def continued(self, positions: NDArray[Any], times: NDArray[Any], end: int) -> "Posting":
        """With what stands from `self.end` to `end`."""
        new = positions >= self.end
        return Posting(np.concatenate([self.positions, positions[new]]), np.concatenate([self.times, times[new]]), end, self.since)

    @property
    def bytes(self) -> int:
        """The memory it takes."""
        return self.positions.nbytes + self.times.nbytes


class Postings:
    """Postings by term, at most `budget` bytes of them: those asked for last are kept. Thread-safe.

    What was added lately is held for all terms; from time to time it is put to the postings that are kept. Others are read when they are asked for.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Posting] = OrderedDict()
        self._bytes = 0
        self._recent: defaultdict[str, tuple[array[int], array[int]]] = defaultdict(_empty)
        self._recent_from = 0
        self._end = 0

    def add(self, occurrences: Iterable[Occurrence], ids: ChunkIds) -> None:
        """Take in what the chunks since the last `add` or `restart` hold; `ids` are all chunks, these the last of them."""
        with self._lock:
            for term, chunk, times in occurrences:
                positions, counts = self._recent[term]
                positions.append(int(np.searchsorted(ids, chunk)))
                counts.append(min(times, _MOST_TIMES))
            self._end = ids.size
            if self._end - self._recent_from > _FOLD_AFTER:
                self._fold()

    def restart(self, end: int) -> None:
        """Forget what is held: there are `end` chunks, and what they hold has to be read."""
        with self._lock:
            self._kept.clear()
            self._recent.clear()
            self._bytes, self._recent_from, self._end = 0, end, end

    def of(self, connection: sqlite3.Connection, term: str, ids: ChunkIds, version: int) -> Posting:
        """The posting of `term` over the positions of `ids`, which has every chunk of the state after change `version`, which `connection` sees."""
        with self._lock:
            kept = self._kept.get(term)
            if kept is not None and kept.since <= version:
                self._kept.move_to_end(term)
                return self._continued(term, kept).below(ids.size)
        posting = Posting.read(connection, term, ids, version)
        with self._lock:
            if posting.end >= self._recent_from and term not in self._kept:  # else what came between is not held any more, or it is older
                self._keep(term, posting)
        return posting

    def _fold(self) -> None:
        """Put what was added lately to the postings that are kept."""
        for term in [term for term in self._kept if term in self._recent]:
            if posting := self._kept.get(term):  # not dropped meanwhile
                self._keep(term, self._continued(term, posting))
        for term, posting in self._kept.items():
            self._kept[term] = posting._replace(end=self._end)
        self._recent.clear()
        self._recent_from = self._end

    def _continued(self, term: str, posting: Posting) -> Posting:
        if term not in self._recent:
            return posting
        positions, times = self._recent[term]
        return posting.continued(np.array(positions, np.int32), np.array(times, np.uint16), self._end)

    def _keep(self, term: str, posting: Posting) -> None:
        before = self._kept.pop(term, None)
        self._kept[term] = posting
        self._bytes += posting.bytes - (before.bytes if before else 0)
        while self._bytes > self._budget and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.bytes


def _empty() -> tuple["array[int]", "array[int]"]:
    return array("i"), array("H")
