"""What BM25 has to know of each chunk: its id, how many terms it has, and whether it is still there."""

import sqlite3
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import StoreCorrupt
from services.retriever.schema import ChunkIds

_LENGTHS: Final = "SELECT id, sz FROM chunk_index_docsize WHERE id > ? ORDER BY id"
_COLUMNS: Final = 3
_ROOM: Final = 1_024
_MORE: Final = 128
DAMAGED: Final = "the full-text index is damaged on the disk: run `ekiben verify` and `ekiben repair`, or restore a backup"
NEVER: Final = np.iinfo(np.int64).max


class Rows(NamedTuple):
    """Chunks by position: ids, int64 `[n]`, rising; lengths in terms, float32 `[n]`; the change that removed each, int64 `[n]`, or NEVER."""

    ids: ChunkIds
    lengths: NDArray[np.float32]
    removed_by: NDArray[np.int64]

    def below(self, last: int) -> "Rows":
        """Those with ids up to `last`."""
        end = int(np.searchsorted(self.ids, last, "right"))
        return self.where(slice(end))

    def where(self, rows: slice | NDArray[np.bool_]) -> "Rows":
        """Some of the rows."""
        return Rows(self.ids[rows], self.lengths[rows], self.removed_by[rows])

    def positions(self, ids: ChunkIds) -> NDArray[Any]:
        """Where those of `ids` stand that are here."""
        if not self.ids.size:
            return np.empty(0, np.intp)
        found = np.searchsorted(self.ids, ids)
        here: NDArray[Any] = found[self.ids.take(found, mode="clip") == ids]
        return here


class ChunkTable:
    """Rows that only grow: chunk ids rise with time. Not thread-safe, but rows that were given out stay as they are."""

    def __init__(self) -> None:
        self.removals = 0
        self._rows = _empty(0)
        self._size = 0

    @property
    def rows(self) -> Rows:
        """All rows."""
        return self._rows.where(slice(self._size))

    @property
    def last(self) -> int:
        """The highest id; 0 where there is none."""
        return int(self._rows.ids[self._size - 1]) if self._size else 0

    def extend(self, connection: sqlite3.Connection) -> ChunkIds:
        """Add the chunks of a committed state with higher ids than those here; returns their ids. Raises StoreCorrupt for damaged sizes."""
        found = connection.execute(_LENGTHS, (self.last,)).fetchall()
        if not found:
            return np.empty(0, np.int64)
        ids = np.array([id_ for id_, _ in found], np.int64)
        try:
            lengths = numbers(b"".join(sizes for _, sizes in found)).reshape(ids.size, _COLUMNS).sum(axis=1)
        except (TypeError, ValueError) as error:
            raise StoreCorrupt(DAMAGED) from error
        self.append(Rows(ids, lengths.astype(np.float32), np.full(ids.size, NEVER)))
        return ids

    def append(self, rows: Rows) -> None:
        """Add `rows` with higher ids than those here."""
        end = self._size + rows.ids.size
        if end > self._rows.ids.size:
            self._grow(end)
        self._rows.ids[self._size : end], self._rows.lengths[self._size : end], self._rows.removed_by[self._size : end] = rows
        self._size = end

    def remove(self, ids: ChunkIds, change: int) -> None:
        """Note that the change number `change` has removed `ids`."""
        rows = self.rows
        rows.removed_by[rows.positions(ids)] = change
        self.removals += ids.size

    def _grow(self, size: int) -> None:
        larger, old = _empty(max(_ROOM, size + size // 4)), self.rows
        larger.ids[: self._size], larger.lengths[: self._size], larger.removed_by[: self._size] = old
        self._rows = larger


def _empty(size: int) -> Rows:
    return Rows(np.empty(size, np.int64), np.empty(size, np.float32), np.empty(size, np.int64))


def numbers(record: bytes) -> NDArray[Any]:
    """SQLite's variable-length integers (below 2^53) one after the other: seven bits a byte, the highest first, the last byte of each below 128."""
    found = np.frombuffer(record, np.uint8)
    ends = np.flatnonzero(found < _MORE)
    number = np.searchsorted(ends, np.arange(found.size))
    # A byte is worth 128 times as much with each byte of its number that follows.
    return np.bincount(number, (found % _MORE) * float(_MORE) ** (ends[number] - np.arange(found.size)))
