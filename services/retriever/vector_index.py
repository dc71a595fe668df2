"""The dense index: cosines over unit vectors with FAISS, derived from the store. Most of it is mapped from a snapshot, the rest in memory."""

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

import faiss
import numpy as np

from core.settings import RetrieverSettings
from core.vectors import Vector
from services.retriever.base import ReadVectors, open_base
from services.retriever.gathering import Gathering
from services.retriever.schema import ChunkIds
from services.retriever.segments import Base, FlatBase, Members, Nearest, Recent, Segment
from services.retriever.snapshot import SnapshotFile

# Of the base: so a large one is not written anew all the time, and the recent vectors, all of which are compared, stay few beside it.
_COMPACT_SHARE: Final = 0.1

_TOGETHER: Final = 16
"""Searches that are made in one pass over the vectors: 4 take 18 ms, 16 take 20, each by itself 6 to 8 (100,000 of dim 384, one core)."""

log = logging.getLogger("ekiben.retriever")


class _State(NamedTuple):
    base: Base
    recent: Recent

    @property
    def segments(self) -> tuple[Segment, Segment]:
        return self.base, self.recent


class VectorIndex:
    """Vectors by chunk id. Thread-safe: a search takes the state it finds and holds no lock, a change puts another state in its place.

    The vector of an id never changes, and an id that was removed never comes back.
    """

    def __init__(self, folder: Path, dim: int, settings: RetrieverSettings) -> None:
        self.dim = dim
        self._folder = folder
        self._settings = settings
        self._changing = threading.Lock()
        self._state = _State(FlatBase(np.empty(0, np.int64), np.empty((0, dim), np.float32)), Recent(dim))
        self._together = Gathering(self._search_together, _TOGETHER, at_once=os.cpu_count() or 1)

    @classmethod
    def open(cls, folder: Path, dim: int, file: SnapshotFile | None, live: ChunkIds, read: ReadVectors, settings: RetrieverSettings) -> Self:
        """An index of the `live` chunks (rising): what the snapshot `file` has is mapped, the rest comes from `read`.

        A file that can't be used costs the time to read everything, never an answer; the log says why.
        """
        index = cls(folder, dim, settings)
        base = (index._opened(file) if file else None) or index._state.base
        base = base.without(base.ids[~Members(live).among(base.ids)])
        missing = live[~Members(base.ids).among(live)]
        recent = Recent(dim, room=missing.size)
        for ids, vectors in read(missing):
            recent = recent.append(ids, vectors)
        index._state = _State(base, recent)
        if base.ids.size and index.pending:
            log.info("vector index caught up with the store", extra={"added": missing.size, "removed": base.gone, "snapshot": base.ids.size})
        return index

    def __len__(self) -> int:
        return sum(segment.count for segment in self._state.segments)

    @property
    def pending(self) -> int:
        """How many vectors came or went since the base was made."""
        state = self._state
        return state.recent.ids.size + state.base.gone

    @property
    def gone(self) -> int:
        """How many vectors of deleted chunks still take up space."""
        return sum(segment.gone for segment in self._state.segments)

    def ids(self) -> ChunkIds:
        """The ids of all chunks, rising."""
        return np.sort(np.concatenate([segment.ids[segment.alive] for segment in self._state.segments]))

    @property
    def is_due(self) -> bool:
        """Whether so much has changed that a new base should be built and adopted."""
        return self.pending >= max(self._settings.compact_after, _COMPACT_SHARE * self._state.base.ids.size)

    def add(self, ids: ChunkIds, vectors: Vector) -> None:
        """Add `vectors`, float32 `[n, dim]`, unit rows, under new `ids`."""
        self.replace(np.empty(0, np.int64), ids, vectors)

    def remove(self, ids: ChunkIds) -> None:
        """Forget `ids`; those that are not there are passed over."""
        self.replace(ids, np.empty(0, np.int64), np.empty((0, self.dim), np.float32))

    def replace(self, removed: ChunkIds, added: ChunkIds, vectors: Vector) -> None:
        """Forget `removed` and add `vectors`, float32 `[n, dim]`, unit rows, under `added`; no search sees one without the other."""
        rows = vectors.reshape(added.size, self.dim)
        with self._changing:
            base, recent = self._state
            self._state = _State(base.without(removed), recent.without(removed).append(added, rows))

    def search(self, vector: Vector, k: int, allowed: ChunkIds | None = None) -> dict[int, float]:
        """The `k` chunks of the highest cosine with `vector` (float32 `[dim]`, unit), among `allowed` where it is given; fewer if there are fewer.

        Best first. Which of equal cosines comes in as the last one is for FAISS to say. The cosines are only good enough to find by: see `cosines`.
        """
        query = np.ascontiguousarray(vector.reshape(self.dim), np.float32)
        if allowed is None and self._state.base.exact:
            return self._together((query, k))
        return self._found(query.reshape(1, -1), k, None if allowed is None else Members(allowed))[0]

    def cosines(self, ids: Sequence[int], vector: Vector) -> dict[int, float]:
        """The exact cosines with `vector` (float32 `[dim]`, unit) of those of `ids` whose vectors are at hand as they were stored."""
        query, wanted = np.ascontiguousarray(vector.reshape(self.dim), np.float32), np.array(ids, np.int64)
        found = [segment.cosines(wanted, query) for segment in self._state.segments]
        return {id_: cosine for part in found for id_, cosine in zip(part.ids.tolist(), part.cosines.tolist(), strict=True)}

    def _search_together(self, asked: Sequence[tuple[Vector, int]]) -> list[dict[int, float]]:
        found = self._found(np.stack([query for query, _ in asked]), max(k for _, k in asked), None)
        return [dict(list(best.items())[:k]) for best, (_, k) in zip(found, asked, strict=True)]

    def _found(self, queries: Vector, k: int, allowed: Members | None) -> list[dict[int, float]]:
        # OpenMP counts threads by calling thread, so this can't be set once. The parallelism is between requests: left to itself FAISS splits
        # a single query, which took 19 ms instead of 6 (100,000 vectors of dim 384, two cores).
        faiss.omp_set_num_threads(1)
        of_segments = [segment.search(queries, k, allowed) for segment in self._state.segments]
        return [_best(parts, k) for parts in zip(*of_segments, strict=True)]

    def adopt(self, file: SnapshotFile) -> bool:
        """Put the base that `build_base` has written in the place of the present one; False where it can't be used and nothing changes.

        What was added or removed since is kept. Searches go on where they began.
        """
        base = self._opened(file)
        if base is None:
            return False
        in_base = Members(base.ids)
        with self._changing:
            old, recent = self._state
            kept = old.ids[old.alive]
            if not in_base.among(kept).all():
                log.warning("snapshot of the vector index not used", extra={"file": file.path(self._folder).name, "reason": "older"})
                return False
            live = Members(np.concatenate([kept, recent.ids[recent.alive]]))
            base = base.without(base.ids[~live.among(base.ids)])
            self._state = _State(base, recent.only(recent.alive & ~in_base.among(recent.ids)))
        return True

    def _opened(self, file: SnapshotFile) -> Base | None:
        base = open_base(self._folder, self.dim, file, self._settings.probes)
        if isinstance(base, Base):
            return base
        log.warning("snapshot of the vector index not used", extra={"file": file.path(self._folder).name, "reason": base})
        return None


def _best(parts: Sequence[Nearest], k: int) -> dict[int, float]:
    """The `k` nearest of all segments, best first."""
    ids, cosines = (np.concatenate(part) for part in zip(*parts, strict=True))
    best = np.argsort(-cosines, kind="stable")[:k]
    return dict(zip(ids[best].tolist(), cosines[best].tolist(), strict=True))
