"""The folder of uploads that wait for their job."""

import errno
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from core.errors import StorageFull
from services.durable import sync_folder

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Spool:
    """Files in one folder, named by their owner."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def path(self, name: str) -> Path:
        """Where the file of that name is."""
        return self._folder / name

    def write(self, name: str, source: BinaryIO) -> int:
        """Copy `source` and return its size. On the disk when this returns, and found there after the next `sync`. Raises StorageFull."""
        with finding_space(self._folder), self.path(name).open("wb") as file:
            shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

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
        self.remove(file.name for file in list(self._folder.iterdir()) if file.name not in names)


@contextmanager
def finding_space(folder: Path) -> Iterator[None]:
    """Raise StorageFull where what is done inside finds no space on the disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise StorageFull(f"no space left for uploads ({error.strerror}, {folder}): nothing of the request was kept; free some space") from error
