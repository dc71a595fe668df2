"""Which files the paths of a command name."""

import glob
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.errors import DocumentUnreadable, InvalidRequest
from core.schemas import DocumentResult
from pipelines.ingestion.loading import SUPPORTED_SUFFIXES
from pipelines.ingestion.refusing import refuse

STDIN = "-"
_COPIED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class SourceFile:
    """A file to ingest and the id of its document: its path below the folder that was named, else its name."""

    path: Path
    id: str


def find_files(paths: Sequence[str]) -> Iterator[SourceFile | DocumentResult]:
    """The files that `paths` name, sorted within each: files, folders (searched for supported formats, hidden ones left out), or patterns.

    What can't be read or does not exist comes as a failed result with `document_unreadable`, the second of two files with the same id with
    `invalid_request`.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        for found in _expand(path):
            if isinstance(found, DocumentResult):
                yield found
            elif found.id in seen and seen[found.id] != found.path:
                message = f"{found.path} would replace {seen[found.id]}, which has the same id: ingest them apart, each into a collection of its own"
                yield refuse(found.id, InvalidRequest(message))
            elif found.id not in seen:
                seen[found.id] = found.path
                yield found


def holds_nothing(path: str) -> bool:
    """Whether there is not a single file to ingest below `path`, nor anything that could not be read."""
    return next(_expand(path), None) is None


def _expand(name: str) -> Iterator[SourceFile | DocumentResult]:
    path = Path(name)
    if path.is_dir():
        yield from _in_folder(path)
    elif path.exists() or path.is_symlink():
        yield SourceFile(path, path.name)
    elif matches := sorted(glob.glob(name, recursive=True)):  # noqa: PTH207 - a pattern may be absolute
        for match in matches:
            yield from _expand(match)
    else:
        yield refuse(name, DocumentUnreadable(f"{name}: there is no such file or folder"))


def _in_folder(folder: Path) -> Iterator[SourceFile | DocumentResult]:
    unreadable: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=unreadable.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root) / name
            if not name.startswith(".") and path.suffix.lower() in SUPPORTED_SUFFIXES:
                yield SourceFile(path, path.relative_to(folder).as_posix())
        yield from _unreadable_folders(unreadable)
    # A folder that can't be read at all is never walked into.
    yield from _unreadable_folders(unreadable)


def _unreadable_folders(errors: list[OSError]) -> Iterator[DocumentResult]:
    while errors:
        error = errors.pop(0)
        yield refuse(str(error.filename), DocumentUnreadable(f"{error.filename}: {error.strerror}"))


@contextmanager
def standard_input(name: str, max_bytes: int) -> Iterator[SourceFile]:
    """Standard input as a file called `name`, for as long as the context lasts; at most one byte more than `max_bytes` is read."""
    with tempfile.TemporaryDirectory(prefix="ekiben-") as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as copy:
            left = max_bytes + 1
            while left and (part := sys.stdin.buffer.read(min(left, _COPIED_AT_ONCE))):
                left -= copy.write(part)
        yield SourceFile(path, name)
