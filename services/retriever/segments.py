"""The parts of the vector index: a base that is mapped from a snapshot and never changes, and the recent vectors in memory.

Each knows its vectors by position, the chunk id at each position, and which positions still count. Vectors are never taken out: that would
move gigabytes, while a search that is told to pass some over costs the same (100,000 vectors).
"""

from abc import ABC, abstractmethod
from typing import Any, Final, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from core.vectors import Vector
from services.retriever.schema import ChunkIds

Chosen = NDArray[np.bool_]
"""bool `[n]`, one a position."""

_ROOM: Final = 1_024


class Nearest(NamedTuple):
    """Found chunks, int64 `[n]`, and their cosines, float32 `[n]`."""

    ids: ChunkIds
    cosines: Vector


class Members:
    """A set of chunk ids, as a table: a million ids are looked up in 4 ms."""

    def __init__(self, ids: ChunkIds) -> None:
        self._beyond = int(ids.max(initial=0)) + 1
        self._table = np.zeros(self._beyond + 1, np.bool_)
        self._table[ids] = True

    def among(self, ids: ChunkIds) -> Chosen:
        """Which of `ids` are in the set."""
        chosen: Chosen = self._table[np.minimum(ids, self._beyond)]
        return chosen


class Segment(ABC):
    """Vectors that are searched together. Not thread-safe: the index holds its lock around every call."""

    ids: ChunkIds
    alive: Chosen

    @property
    def count(self) -> int:
        """How many vectors count."""
        return int(np.count_nonzero(self.alive))

    @property
    def gone(self) -> int:
        """How many vectors are there and don't count."""
        return self.alive.size - self.count

    def forget(self, ids: ChunkIds) -> None:
        """Let `ids` count no longer; those that are not there are passed over."""
        if ids.size:
            self.alive[self._positions(ids)] = False

    def search(self, query: Vector, k: int, allowed: Members | None) -> Nearest:
        """The `k` nearest among `allowed`, in no order, fewer where there are fewer; `query` is float32 `[dim]`, unit."""
        chosen = self.alive if allowed is None else self.alive & allowed.among(self.ids)
        eligible = int(np.count_nonzero(chosen))
        if not eligible:
            return Nearest(np.empty(0, np.int64), np.empty(0, np.float32))
        cosines, positions = self._nearest(query, min(k, eligible), chosen, eligible)
        found = positions >= 0  # FAISS fills up with -1
        return Nearest(self.ids[positions[found]], cosines[found])

    @abstractmethod
    def _positions(self, ids: ChunkIds) -> NDArray[Any]:
        """Where `ids` stand, as an index into an array `[n]`."""

    @abstractmethod
    def _nearest(self, query: Vector, k: int, chosen: Chosen, eligible: int) -> tuple[Vector, NDArray[np.int64]]:
        """Cosines and positions of the `k` nearest of the `chosen`, of which there are `eligible` (1 or more)."""


class Base(Segment):
    """The mapped vectors. `exact` is False where their cosines are approximate and some of the nearest may be missed."""

    exact = True

    def __init__(self, ids: ChunkIds) -> None:
        self.ids = ids
        self.alive = np.ones(ids.size, np.bool_)

    def _positions(self, ids: ChunkIds) -> NDArray[Any]:
        positions = np.searchsorted(self.ids, ids)
        return positions[self.ids.take(positions, mode="clip") == ids] if self.ids.size else positions[:0]


class FlatBase(Base):
    """Vectors as they are, each compared with the query."""

    def __init__(self, ids: ChunkIds, rows: Vector) -> None:
        super().__init__(ids)
        self._rows = rows

    def _nearest(self, query: Vector, k: int, chosen: Chosen, eligible: int) -> tuple[Vector, NDArray[np.int64]]:
        return _nearest_rows(self._rows, query, k, _selector(chosen, eligible))


class InvertedBase(Base):
    """Vectors of eight bits a number in the cells of an inverted file; the cells nearest to the query are looked into."""

    exact = False

    def __init__(self, ids: ChunkIds, inverted: Any, probes: int) -> None:
        super().__init__(ids)
        self._inverted = inverted
        self._probes = probes

    def _nearest(self, query: Vector, k: int, chosen: Chosen, eligible: int) -> tuple[Vector, NDArray[np.int64]]:
        """Looks into more cells the fewer vectors are eligible, so that as many are compared as in a search without a filter."""
        cells = min(self._inverted.nlist, -(-self._probes * chosen.size // eligible))
        selector = _selector(chosen, eligible)
        cosines, positions = self._probe(query, k, selector, cells)
        if (positions < 0).any() and cells < self._inverted.nlist:
            return self._probe(query, k, selector, self._inverted.nlist)
        return cosines, positions

    def _probe(self, query: Vector, k: int, selector: Any, cells: int) -> tuple[Vector, NDArray[np.int64]]:
        parameters: Any = faiss.SearchParametersIVF()
        parameters.nprobe, parameters.sel = cells, selector
        cosines, positions = self._inverted.search(query.reshape(1, -1), k, params=parameters)
        return cosines[0], positions[0]


class Recent(Segment):
    """Vectors since the base, in memory; they may come in any order of ids."""

    def __init__(self, dim: int, room: int = _ROOM) -> None:
        self._ids = np.empty(room, np.int64)
        self._alive = np.empty(room, np.bool_)
        self._rows = np.empty((room, dim), np.float32)
        self._show(0)

    def append(self, ids: ChunkIds, vectors: Vector) -> None:
        """Add `vectors`, float32 `[n, dim]`, under new `ids`."""
        if self.ids.size + ids.size > self._ids.size:
            self._grow(ids.size)
        start, end = self.ids.size, self.ids.size + ids.size
        self._ids[start:end], self._alive[start:end], self._rows[start:end] = ids, True, vectors
        self._show(end)

    def only(self, chosen: Chosen, room: int = 0) -> "Recent":
        """A copy of the `chosen`, with room for as many again and for `room` more."""
        count = int(np.count_nonzero(chosen))
        kept = Recent(self._rows.shape[1], max(_ROOM, 2 * count + room))
        kept.append(self.ids[chosen], self._rows[: chosen.size][chosen])
        return kept

    def _grow(self, room: int) -> None:
        """Move to larger arrays, and leave behind what is gone: a document that changes again and again does not fill the memory."""
        moved = self.only(self.alive, room)
        self._ids, self._alive, self._rows = moved._ids, moved._alive, moved._rows
        self._show(moved.ids.size)

    def _show(self, size: int) -> None:
        self.ids, self.alive = self._ids[:size], self._alive[:size]

    def _positions(self, ids: ChunkIds) -> NDArray[Any]:
        return np.isin(self.ids, ids)

    def _nearest(self, query: Vector, k: int, chosen: Chosen, eligible: int) -> tuple[Vector, NDArray[np.int64]]:
        return _nearest_rows(self._rows[: chosen.size], query, k, _selector(chosen, eligible))


def _selector(chosen: Chosen, eligible: int) -> Any:
    """A bit a position for FAISS; None where all positions are chosen."""
    bitmap: Any = faiss.IDSelectorBitmap  # typed as in C++, while the wrapper takes the array alone and keeps it alive
    return None if eligible == chosen.size else bitmap(np.packbits(chosen, bitorder="little"))


def _nearest_rows(rows: Vector, query: Vector, k: int, selector: Any) -> tuple[Vector, NDArray[np.int64]]:
    """The exact `k` nearest of `rows`, float32 `[n, dim]`; `k` is not more than there are to find."""
    # FAISS's index class does the same, but keeps a copy of the rows of its own.
    cosines, positions = np.empty(k, np.float32), np.empty(k, np.int64)
    faiss.knn_inner_product(
        faiss.swig_ptr(query), faiss.swig_ptr(rows), query.size, 1, len(rows), k, faiss.swig_ptr(cosines), faiss.swig_ptr(positions), selector
    )
    return cosines, positions
