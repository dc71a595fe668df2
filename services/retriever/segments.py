"""The parts of the vector index: a base that is mapped from a snapshot and never changes, and the recent vectors in memory.

Each knows its vectors by position, the chunk id at each position, and which positions still count. Vectors are never taken out: that would
move gigabytes, while a search that is told to pass some over costs the same (100,000 vectors). What is there never changes: a change gives
another segment, which shares the vectors, so that searches need no lock.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import Any, Final, NamedTuple, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from core.vectors import Vector, cosines
from services.retriever.highest import highest
from services.retriever.schema import ChunkIds

Chosen = NDArray[np.bool_]
"""bool `[n]`, one a position."""

_ROOM: Final = 1_024
# From this many queries on, products of matrices are faster than FAISS's pass for each of them.
_TOGETHER: Final = 3
# What one product of matrices may cost: more, and BLAS copies the rows and splits the product over threads.
_PRODUCT: Final = 2**18


_Found = tuple[Vector, NDArray[np.int64]]


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
    """Vectors that are searched together."""

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

    def without(self, ids: ChunkIds) -> Self:
        """The same where `ids` count no longer; those that are not there are passed over."""
        if not ids.size:
            return self
        other = copy(self)
        other.alive = self.alive.copy()
        other.alive[self._positions(ids)] = False
        return other

    def search(self, queries: Vector, k: int, allowed: Members | None) -> list[Nearest]:
        """The `k` nearest of each query among `allowed`, in no order, fewer where there are fewer; `queries` is float32 `[m, dim]`, unit rows."""
        chosen = self.alive if allowed is None else self.alive & allowed.among(self.ids)
        eligible = int(np.count_nonzero(chosen))
        if not eligible:
            return [Nearest(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
        nearest = self._nearest(queries, min(k, eligible), chosen, eligible)
        # FAISS fills up with -1.
        return [Nearest(self.ids[positions[positions >= 0]], cosines[positions >= 0]) for cosines, positions in nearest]

    @abstractmethod
    def cosines(self, ids: ChunkIds, query: Vector) -> Nearest:
        """The exact cosines of those of `ids` that are here with `query`, float32 `[dim]`, unit; none where the vectors are not exact."""

    @abstractmethod
    def _positions(self, ids: ChunkIds) -> NDArray[Any]:
        """Where `ids` stand, as an index into an array `[n]`."""

    @abstractmethod
    def _nearest(self, queries: Vector, k: int, chosen: Chosen, eligible: int) -> Sequence[_Found]:
        """Cosines and positions of the `k` nearest of the `chosen`, of which there are `eligible` (1 or more), for each query."""


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

    def cosines(self, ids: ChunkIds, query: Vector) -> Nearest:
        """See `Segment.cosines`."""
        positions = self._positions(ids)
        return Nearest(self.ids[positions], cosines(self._rows[positions], query))

    def _nearest(self, queries: Vector, k: int, chosen: Chosen, eligible: int) -> Sequence[_Found]:
        return _nearest_rows(self._rows, queries, k, chosen, eligible)


class InvertedBase(Base):
    """Vectors of eight bits a number in the cells of an inverted file; the cells nearest to the query are looked into."""

    exact = False

    def __init__(self, ids: ChunkIds, inverted: Any, probes: int) -> None:
        super().__init__(ids)
        self._inverted = inverted
        self._probes = probes

    def cosines(self, ids: ChunkIds, query: Vector) -> Nearest:
        """See `Segment.cosines`."""
        return Nearest(np.empty(0, np.int64), np.empty(0, np.float32))

    def _nearest(self, queries: Vector, k: int, chosen: Chosen, eligible: int) -> Sequence[_Found]:
        """Looks into more cells the fewer vectors are eligible, so that as many are compared as in a search without a filter."""
        cells = min(self._inverted.nlist, -(-self._probes * chosen.size // eligible))
        selector = _selector(chosen, eligible)
        return [self._nearest_of(query, k, selector, cells) for query in queries]

    def _nearest_of(self, query: Vector, k: int, selector: Any, cells: int) -> _Found:
        cosines, positions = self._probe(query, k, selector, cells)
        if (positions < 0).any() and cells < self._inverted.nlist:
            return self._probe(query, k, selector, self._inverted.nlist)
        return cosines, positions

    def _probe(self, query: Vector, k: int, selector: Any, cells: int) -> _Found:
        parameters: Any = faiss.SearchParametersIVF()
        parameters.nprobe, parameters.sel = cells, selector
        cosines, positions = self._inverted.search(query.reshape(1, -1), k, params=parameters)
        return cosines[0], positions[0]


class Recent(Segment):
    """Vectors since the base, in memory; they may come in any order of ids."""

    def __init__(self, dim: int, room: int = _ROOM) -> None:
        self._all_ids = np.empty(room, np.int64)
        self._all_rows = np.empty((room, dim), np.float32)
        self.ids = self._all_ids[:0]
        self.alive = np.empty(0, np.bool_)

    def append(self, ids: ChunkIds, vectors: Vector) -> "Recent":
        """The same with `vectors`, float32 `[n, dim]`, under new `ids`; only what was given out last may be appended to, because room is shared."""
        end = self.ids.size + ids.size
        # What is gone is left behind: a document that changes again and again doesn't fill the memory.
        longer = copy(self) if end <= self._all_ids.size else self.only(self.alive, ids.size)
        start, end = longer.ids.size, longer.ids.size + ids.size
        longer._all_ids[start:end], longer._all_rows[start:end] = ids, vectors
        longer.ids, longer.alive = longer._all_ids[:end], np.concatenate([longer.alive, np.ones(ids.size, np.bool_)])
        return longer

    def only(self, chosen: Chosen, room: int = 0) -> "Recent":
        """A copy of the `chosen`, with room for as many again and for `room` more."""
        count = int(np.count_nonzero(chosen))
        kept = Recent(self._all_rows.shape[1], max(_ROOM, 2 * count + room))
        return kept.append(self.ids[chosen], self._rows[chosen])

    def cosines(self, ids: ChunkIds, query: Vector) -> Nearest:
        """See `Segment.cosines`."""
        positions = self._positions(ids)
        return Nearest(self.ids[positions], cosines(self._rows[positions], query))

    @property
    def _rows(self) -> Vector:
        return self._all_rows[: self.ids.size]

    def _positions(self, ids: ChunkIds) -> NDArray[Any]:
        return np.flatnonzero(Members(ids).among(self.ids))

    def _nearest(self, queries: Vector, k: int, chosen: Chosen, eligible: int) -> Sequence[_Found]:
        return _nearest_rows(self._rows, queries, k, chosen, eligible)


def _selector(chosen: Chosen, eligible: int) -> Any:
    """A bit a position for FAISS; None where all positions are chosen."""
    bitmap: Any = faiss.IDSelectorBitmap  # typed as in C++, while the wrapper takes the array alone and keeps it alive
    return None if eligible == chosen.size else bitmap(np.packbits(chosen, bitorder="little"))


def _nearest_rows(rows: Vector, queries: Vector, k: int, chosen: Chosen, eligible: int) -> Sequence[_Found]:
    """The exact `k` nearest of the `chosen` of `rows`, float32 `[n, dim]`, for each query; `k` is not more than the `eligible`."""
    if len(queries) < _TOGETHER:
        selector = _selector(chosen, eligible)
        return [_nearest_of(rows, query, k, selector) for query in queries]
    cosines = _products(rows, queries)
    if eligible < chosen.size:
        cosines[:, ~chosen] = -np.inf
    best = highest(cosines, k, above=-np.inf)
    return [(of_query[positions], positions) for of_query, positions in zip(cosines, best, strict=True)]


def _nearest_of(rows: Vector, query: Vector, k: int, selector: Any) -> _Found:
    # FAISS's index class does the same, but keeps a copy of the rows of its own.
    cosines, positions = np.empty(k, np.float32), np.empty(k, np.int64)
    faiss.knn_inner_product(
        faiss.swig_ptr(query), faiss.swig_ptr(rows), query.size, 1, len(rows), k, faiss.swig_ptr(cosines), faiss.swig_ptr(positions), selector
    )
    return cosines, positions


def _products(rows: Vector, queries: Vector) -> Vector:
    """The products of all `rows` with all `queries`, float32 `[m, n]`.

    As many small products of matrices, which need no copies of the rows: 16 queries over 100,000 rows of dim 384 take 20 ms, as one product 36,
    one by one 125.
    """
    count, dim = rows.shape
    columns = np.ascontiguousarray(queries.T)
    step = max(16, _PRODUCT // (dim * len(queries)) // 16 * 16)
    even = count // step * step
    cosines = np.empty((len(queries), count), np.float32)
    cosines[:, :even] = (rows[:even].reshape(-1, step, dim) @ columns).reshape(even, len(queries)).T
    cosines[:, even:] = (rows[even:] @ columns).T
    return cosines
