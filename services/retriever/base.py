"""The base of the vector index: built into a snapshot from a committed state of the store, and opened from one."""

from collections.abc import Callable, Iterator
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import faiss
import numpy as np

from core.errors import Internal
from core.settings import RetrieverSettings
from core.vectors import Vector
from services.retriever.schema import ChunkIds
from services.retriever.segments import Base, FlatBase, InvertedBase
from services.retriever.snapshot import Fault, SnapshotFile, fault_of, read_ids, write_snapshot

ReadVectors = Callable[[ChunkIds], Iterator[tuple[ChunkIds, Vector]]]
"""Gives ids and vectors (float32 `[n, dim]`, unit rows) of the rising ids it is asked for, all of them, in that order, some at a time."""

# FAISS's k-means wants 39 to 256 vectors a cell. 200 instead of 64 take 14 s longer at a million, for 0.6 points of recall at most.
_SAMPLES_PER_CELL: Final = 64
_ROUNDS: Final = 10


def build_base(folder: Path, dim: int, live: ChunkIds, read: ReadVectors, settings: RetrieverSettings) -> SnapshotFile:
    """Write the vectors of `live` (all chunks of one committed state, rising) to a snapshot, from which `VectorIndex.adopt` takes them.

    Blocks for long (half a minute for a million chunks) on one core, without a lock. Raises StorageFull, and Internal where the disk fails.
    """
    if live.size <= settings.exact_up_to:
        return write_snapshot(folder, "flat", dim, live, partial(_write_rows, live=live, read=read))
    inverted = _inverted_file(dim, live, read)
    return write_snapshot(folder, "ivf", dim, live, partial(_write_inverted, inverted=inverted))


def open_base(folder: Path, dim: int, file: SnapshotFile, probes: int) -> Base | Fault:
    """Map a snapshot, or say why it can't be used."""
    fault = fault_of(folder, file)
    if fault:
        return fault
    ids = read_ids(folder, file)
    base = _map_rows(folder, file, ids) if file.kind == "flat" else _map_inverted(folder, file, ids, probes)
    return base if base and file.dim == dim else "foreign"


def _write_rows(stream: BinaryIO, live: ChunkIds, read: ReadVectors) -> None:
    for vectors in _all_of(live, read):
        stream.write(vectors.astype("<f4").tobytes())


def _write_inverted(stream: BinaryIO, inverted: Any) -> None:
    # FAISS's own writer doesn't notice a full disk when it closes the file, and tells of no error number.
    faiss.write_index(inverted, faiss.PyCallbackIOWriter(stream.write))  # type: ignore[attr-defined]  # not in the stubs


def _inverted_file(dim: int, live: ChunkIds, read: ReadVectors) -> Any:
    """As many cells as the root of the vectors: four times as many take seven times as long to build (126 s for a million), while a search
    for the same recall takes a third of the time (1.8 ms instead of 5.8). Eight bits find as many of the nearest ten as 16 do, on half the disk.
    """
    cells = isqrt(live.size)
    inverted = faiss.IndexIVFScalarQuantizer(faiss.IndexFlatIP(dim), dim, cells, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    inverted.cp.niter, inverted.cp.min_points_per_centroid = _ROUNDS, 1
    faiss.omp_set_num_threads(1)  # the other cores are for searches
    sample = np.random.default_rng(0).choice(live, min(live.size, cells * _SAMPLES_PER_CELL), replace=False)
    inverted.train(np.concatenate(list(_all_of(np.sort(sample), read))))
    for vectors in _all_of(live, read):
        inverted.add(vectors)
    return inverted


def _all_of(ids: ChunkIds, read: ReadVectors) -> Iterator[Vector]:
    """The vectors of `ids`, checked to be theirs: a position too many would give every chunk behind it the wrong vector."""
    done = 0
    for found, vectors in read(ids):
        if not np.array_equal(found, ids[done : done + found.size]):
            break
        done += found.size
        yield np.ascontiguousarray(vectors, np.float32)
    if done != ids.size:
        raise Internal(f"the store gave other vectors than those of the {ids.size} chunks it was asked for: no snapshot is made; run `ekiben verify`")


def _map_rows(folder: Path, file: SnapshotFile, ids: ChunkIds) -> Base | None:
    if file.vectors_bytes != file.chunks * file.dim * np.dtype("<f4").itemsize:
        return None
    if not file.chunks:  # an empty file can't be mapped
        return FlatBase(ids, np.empty((0, file.dim), np.float32))
    return FlatBase(ids, np.memmap(file.path(folder), "<f4", "r", shape=(file.chunks, file.dim)))


def _map_inverted(folder: Path, file: SnapshotFile, ids: ChunkIds, probes: int) -> Base | None:
    try:
        inverted = faiss.read_index(str(file.path(folder)), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    except RuntimeError:  # sound, but not what this version of FAISS reads
        return None
    if not isinstance(inverted, faiss.IndexIVF) or (inverted.ntotal, inverted.d) != (file.chunks, file.dim):
        return None
    lists: Any = faiss.downcast_InvertedLists(cast("Any", inverted).invlists)
    lists.prefetch_nthread = 0  # FAISS would start 32 threads a search to read cells ahead
    return InvertedBase(ids, inverted, probes)
