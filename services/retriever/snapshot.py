"""Snapshots of the vector index on the disk: how a file is written so that it is whole or not used, and how one is checked before it is read.

A file `vectors-TOKEN.faiss` is not trusted for being there: the database names the one that belongs to it, and does so after the file is
durable. So a crash between the two leaves a file that nobody names, and a database restored from a backup never meets a younger file.
"""

import errno
import hashlib
import logging
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from core.errors import EkibenError, Internal, StorageFull
from services.durable import rename_durably
from services.retriever.schema import ChunkIds

Kind = Literal["flat", "ivf"]
Fault = Literal["missing", "torn", "damaged", "foreign"]

_ID: Final = np.dtype("<i8")
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

log = logging.getLogger("ekiben.retriever")


class SnapshotFile(BaseModel):
    """What has to be true of a file before it is used: FAISS can crash the process on a damaged one. `checksum` is SHA-256.

    The file holds vectors (kind `flat`: float32 `[chunks, dim]`; kind `ivf`: what FAISS writes), then the ids of their chunks, rising.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    kind: Kind
    dim: Annotated[int, Field(ge=1)]
    chunks: Annotated[int, Field(ge=0)]
    size_bytes: Annotated[int, Field(ge=0)]
    checksum: str

    def path(self, folder: Path) -> Path:
        """Where the file lies in the data folder."""
        return folder / f"vectors-{self.token}.faiss"

    @property
    def vectors_bytes(self) -> int:
        """The size of the file's first part."""
        return self.size_bytes - self.chunks * _ID.itemsize


class SnapshotRecord(SnapshotFile):
    """A snapshot as the database names it: the commit it was made at, and the encoder of its vectors."""

    index_version: Annotated[int, Field(ge=0)]
    fingerprint: str

    @classmethod
    def of(cls, file: SnapshotFile, index_version: int, fingerprint: str) -> Self:
        """The record of `file`."""
        return cls(**file.model_dump(), index_version=index_version, fingerprint=fingerprint)


def write_snapshot(folder: Path, kind: Kind, dim: int, ids: ChunkIds, write_vectors: Callable[[BinaryIO], None]) -> SnapshotFile:
    """Make a file of what `write_vectors` puts into it and of `ids`; on the disk and under its name when this returns.

    Raises StorageFull, or Internal where the disk fails in another way; either leaves no file behind.
    """
    token = secrets.token_hex(16)
    draft = folder / f"vectors-{token}.tmp"
    try:
        with draft.open("wb") as stream:
            write_vectors(stream)
            stream.write(ids.astype(_ID).tobytes())
            stream.flush()
            os.fsync(stream.fileno())
        size, checksum = draft.stat().st_size, _checksum(draft)
        file = SnapshotFile(token=token, kind=kind, dim=dim, chunks=ids.size, size_bytes=size, checksum=checksum)
        rename_durably(draft, file.path(folder))
    except OSError as error:
        raise _translated(error, folder) from error
    finally:
        with suppress(OSError):  # what can't be deleted now is deleted by `keep_only`
            draft.unlink(missing_ok=True)
    return file


def read_ids(folder: Path, file: SnapshotFile) -> ChunkIds:
    """The chunk ids in a sound file, int64 `[chunks]`, rising."""
    return np.fromfile(file.path(folder), _ID, count=file.chunks, offset=file.vectors_bytes).astype(np.int64, copy=False)


def fault_of(folder: Path, file: SnapshotFile) -> Fault | None:
    """What keeps the file from being used; None where it is byte for byte the one that was written. Reads all of it (about 1.8 GB/s)."""
    path = file.path(folder)
    try:
        if path.stat().st_size != file.size_bytes:
            return "torn"
        return None if _checksum(path) == file.checksum else "damaged"
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        log.warning("the snapshot of the vector index can't be read", extra={"file": path.name, "error": str(error)})
        return "damaged"


def keep_only(folder: Path, *kept: SnapshotFile) -> None:
    """Delete all snapshots in `folder` but `kept`, unfinished ones too, so none may be in the making. A file in use stays readable to its users."""
    names = {file.path(folder).name for file in kept}
    for path in folder.glob("vectors-*"):
        if path.name not in names:
            _delete(path)


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("an old snapshot of the vector index can't be deleted", extra={"file": path.name, "error": str(error)})


def _checksum(path: Path) -> str:
    """SHA-256: 1.8 GB/s where the processor has instructions for it, against 0.7 of BLAKE2b."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _translated(error: OSError, folder: Path) -> EkibenError:
    if error.errno in _NO_SPACE:
        return StorageFull(
            f"no space left in {folder} for a snapshot of the vector index ({error}): free some space; until then each start takes longer"
        )
    return Internal(f"a snapshot of the vector index could not be written to {folder} ({error}): until one is, each start takes longer")
