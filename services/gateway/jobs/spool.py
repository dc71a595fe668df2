"""The folder of uploads that wait for their job."""

import errno
import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from core.errors import InvalidSettings, StorageFull
from services.durable import sync_folder

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PIECE_BYTES: Final = 1_048_576


class Content(NamedTuple):
    """What a file holds: its size in bytes, and the SHA-256 of them."""

    size: int
    sha256: str


class Spool:
    """Files in one folder, named by their owner."""

    def __init__(self, folder: Path) -> None:
        """Raises InvalidSettings where the folder can't be made."""
        self._folder = folder
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InvalidSettings(f"{folder} can't be used for uploads ({error}): name another folder (jobs.data_dir)") from error

    def path(self, name: str) -> Path:
        """Where the file of that name is."""
        return self._folder / name

    def write(self, name: str, source: BinaryIO) -> Content:
        """Copy `source` and tell what it holds. On the disk when this returns, and found there after the next `sync`. Raises StorageFull."""
        digest = hashlib.sha256()
        with finding_space(self._folder), self.path(name).open("wb") as file:
            while piece := source.read(_PIECE_BYTES):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            return Content(file.tell(), digest.hexdigest())

    def names(self) -> list[str]:
        """All files that are there."""
        return [file.name for file in self._folder.iterdir()]

    def sync(self) -> None:
        """Bring the names of all files to the disk."""
        with finding_space(self._folder):
            sync_folder(self._folder)

    def remove(self, names: Iterable[str]) -> None:
        """Delete files; those that are gone already don't matter."""
        for name in names:
            self.path(name).unlink(missing_ok=True)

    def remove_all_but(self, names: Collection[str]) -> None:
        """Delete what a crash has left behind."""
        self.remove(name for name in self.names() if name not in names)


def fault_of(path: Path, content: Content) -> str | None:
    """What is wrong with a file that was written with `content`; None where nothing is. Reads all of it (about 1.8 GB/s)."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != content.size:
                return f"has {size} bytes on the disk instead of {content.size}"
            is_same = hashlib.file_digest(file, "sha256").hexdigest() == content.sha256
    except FileNotFoundError:
        return "is not on the disk any more"
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return f"can't be read from the disk ({error.strerror})"
    return None if is_same else "has other bytes on the disk than were sent"


@contextmanager
def finding_space(folder: Path) -> Iterator[None]:
    """Raise StorageFull where what is done inside finds no space on the disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise StorageFull(f"no space left for uploads ({error.strerror}, {folder}): nothing of the request was kept; free some space") from error
