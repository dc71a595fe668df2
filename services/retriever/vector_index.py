"""The dense index: cosines over unit vectors with FAISS, derived from the store. Most of it is mapped from a snapshot, the rest in memory."""

import logging
from pathlib import Path
from typing import Final, Self

import faiss
import numpy as np

from core.settings import RetrieverSettings
from core.vectors import Vector
from services.retriever.base import ReadVectors, open_base
from services.retriever.read_write_lock import ReadWriteLock
from services.retriever.schema import ChunkIds
from services.retriever.segments import Base, FlatBase, Members, Recent
from services.retriever.snapshot import SnapshotFile

# Of the base: so a large one is not written anew all the time, and the recent vectors, all of which are compared, stay few beside it.
_COMPACT_SHARE: Final = 0.1

log = logging.getLogger("ekiben.retriever")


class VectorIndex:
    """Vectors by chunk id. Thread-safe: searches run side by side and without the GIL, a change waits for them and runs alone.

    The vector of an id never changes, and an id that was removed never comes back.
    """

    def __init__(self, folder: Path, dim: int, settings: RetrieverSettings) -> None:
        self.dim = dim
        self._folder = folder
        self._settings = settings
        self._lock = ReadWriteLock()
        self._base: Base = FlatBase(np.empty(0, np.int64), np.empty((0, dim), np.float32))
        self._recent = Recent(dim)
        self._exact = True

    @classmethod
    def open(cls, folder: Path, dim: int, file: SnapshotFile | None, live: ChunkIds, read: ReadVectors, settings: RetrieverSettings) -> Self:
        """An index of the `live` chunks (rising): what the snapshot `file` has is mapped, the rest comes from `read`.

        A file that can't be used costs the time to read everything, never an answer; the log says why.
        """
        index = cls(folder, dim, settings)
        base = (index._opened(file) if file else None) or index._base
        index._base, index._exact = base, base.exact
        base.forget(base.ids[~Members(live).among(base.ids)])
        missing = live[~Members(base.ids).among(live)]
        index._recent = Recent(dim, room=missing.size)
        for ids, vectors in read(missing):
            index._recent.append(ids, vectors)
        if base.ids.size and index.pending:
            log.info("vector index caught up with the store", extra={"added": missing.size, "removed": base.gone, "snapshot": base.ids.size})
        return index

    def __len__(self) -> int:
        with self._lock.reading():
            return self._base.count + self._recent.count

    @property
    def exact(self) -> bool:
        """Whether the cosines of every search that has ended are exact. Where not, compare the vectors in the store with the query once more."""
        return self._exact

    @property
    def pending(self) -> int:
        """How many vectors came or went since the base was made."""
        with self._lock.reading():
            return self._recent.ids.size + self._base.gone

    @property
    def gone(self) -> int:
        """How many vectors of deleted chunks still take up space."""
        with self._lock.reading():
            return self._base.gone + self._recent.gone

    def ids(self) -> ChunkIds:
        """The ids of all chunks, rising."""
        with self._lock.reading():
            return np.sort(np.concatenate([segment.ids[segment.alive] for segment in (self._base, self._recent)]))

    @property
    def is_due(self) -> bool:
        """Whether so much has changed that a new base should be built and adopted."""
        return self.pending >= max(self._settings.compact_after, _COMPACT_SHARE * self._base.ids.size)

    def add(self, ids: ChunkIds, vectors: Vector) -> None:
        """Add `vectors`, float32 `[n, dim]`, unit rows, under new `ids`."""
        self.replace(np.empty(0, np.int64), ids, vectors)

    def remove(self, ids: ChunkIds) -> None:
        """Forget `ids`; those that are not there are passed over."""
        self.replace(ids, np.empty(0, np.int64), np.empty((0, self.dim), np.float32))

    def replace(self, removed: ChunkIds, added: ChunkIds, vectors: Vector) -> None:
        """Forget `removed` and add `vectors`, float32 `[n, dim]`, unit rows, under `added`; no search sees one without the other."""
        rows = vectors.reshape(added.size, self.dim)
        with self._lock.writing():
            self._base.forget(removed)
            self._recent.forget(removed)
            self._recent.append(added, rows)

    def search(self, vector: Vector, k: int, allowed: ChunkIds | None = None) -> dict[int, float]:
        """The `k` chunks of the highest cosine with `vector` (float32 `[dim]`, unit), among `allowed` where it is given; fewer if there are fewer.

        Best first. Which of equal cosines comes in as the last one is for FAISS to say; it is the same one each time. See `exact`.
        """
        query = np.ascontiguousarray(vector.reshape(self.dim), np.float32)
        members = None if allowed is None else Members(allowed)
        # OpenMP counts threads by calling thread, so this can't be set once. The parallelism is between requests: left to itself FAISS splits
        # a single query, which took 19 ms instead of 6 (100,000 vectors of dim 384, two cores).
        faiss.omp_set_num_threads(1)
        with self._lock.reading():
            found = [segment.search(query, k, members) for segment in (self._base, self._recent)]
        ids, cosines = (np.concatenate(parts) for parts in zip(*found, strict=True))
        best = np.argsort(-cosines, kind="stable")[:k]
        return dict(zip(ids[best].tolist(), cosines[best].tolist(), strict=True))

    def adopt(self, file: SnapshotFile) -> bool:
        """Put the base that `build_base` has written in the place of the present one; False where it can't be used and nothing changes.

        What was added or removed since is kept. Searches go on, and wait only for the exchange.
        """
        base = self._opened(file)
        if base is None:
            return False
        in_base = Members(base.ids)
        with self._lock.writing():
            old, recent = self._base, self._recent
            kept = old.ids[old.alive]
            if not in_base.among(kept).all():
                log.warning("snapshot of the vector index not used", extra={"file": file.path(self._folder).name, "reason": "older"})
                return False
            live = Members(np.concatenate([kept, recent.ids[recent.alive]]))
            base.forget(base.ids[~live.among(base.ids)])
            self._recent = recent.only(recent.alive & ~in_base.among(recent.ids))
            self._base, self._exact = base, self._exact and base.exact
        return True

    def _opened(self, file: SnapshotFile) -> Base | None:
        base = open_base(self._folder, self.dim, file, self._settings.probes)
        if isinstance(base, Base):
            return base
        log.warning("snapshot of the vector index not used", extra={"file": file.path(self._folder).name, "reason": base})
        return None
