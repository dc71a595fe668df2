"""From paths to stored documents: finds files, loads them in parallel processes, sends them in batches."""

import glob
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from clients.http_client import EkibenClient
from core.errors import DocumentError, DocumentUnreadable, Internal, InvalidRequest
from core.schemas import MAX_DOCUMENTS_PER_REQUEST, Document, DocumentResult
from core.settings import IngestionSettings
from pipelines.ingestion.loading import SUPPORTED_SUFFIXES, load_bytes, load_file
from pipelines.ingestion.refusing import Loaded, refuse

STDIN = "-"
# A request should be big enough to fill the encoder's batches and small enough that a lost one costs little.
_BATCH_DOCUMENTS = 64
_BATCH_CHARS = 1_000_000
_LOADING_AHEAD = 4
_FEW_FILES = 4


@dataclass(frozen=True)
class SourceFile:
    """A file to ingest and the id of its document: its path below the folder that was named, else its name."""

    path: Path
    id: str


def find_files(paths: Sequence[str]) -> Iterator[SourceFile | DocumentResult]:
    """The files that `paths` name, sorted within each: files, folders (searched for supported formats, hidden ones left out), or patterns.

    What does not exist, and the second of two files with the same id, comes as a failed result.
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
        for error in unreadable:
            yield refuse(str(error.filename), DocumentUnreadable(f"{error.filename}: {error.strerror}"))
        unreadable.clear()


def load_all(files: Sequence[SourceFile], limits: IngestionSettings, workers: int) -> Iterator[list[Loaded]]:
    """What is in each file, in order. Several processes parse, a bounded number of files ahead. Raises Internal where one of them dies."""
    if len(files) <= _FEW_FILES or workers <= 1:
        yield from (_load(file, limits) for file in files)
        return
    try:
        yield from _load_in_parallel(files, limits, workers)
    except BrokenProcessPool as error:
        raise Internal("a process that parses files died, of a lack of memory perhaps: ingest fewer files at once, or with --workers 1") from error


def _load_in_parallel(files: Sequence[SourceFile], limits: IngestionSettings, workers: int) -> Iterator[list[Loaded]]:
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        ahead: deque[Future[list[Loaded]]] = deque()
        for file in files:
            ahead.append(pool.submit(_load, file, limits))
            if len(ahead) >= workers * _LOADING_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _load(file: SourceFile, limits: IngestionSettings) -> list[Loaded]:
    try:
        return load_file(file.path, id=file.id, limits=limits)
    except DocumentError as error:
        return [refuse(file.id, error)]


def load_stdin(name: str, limits: IngestionSettings) -> list[Loaded]:
    """Standard input as a file with that name."""
    try:
        return load_bytes(name, sys.stdin.buffer.read(limits.max_file_bytes + 1), id=name, limits=limits)
    except DocumentError as error:
        return [refuse(name, error)]


def send_all(loaded: Iterable[Loaded], client: EkibenClient, collection: str, report: Callable[[DocumentResult], None]) -> None:
    """Send documents in batches and report one result for each, failed loads included. Raises what the gateway refuses a whole batch with;
    everything reported before is stored.
    """
    for batch in _batches(loaded, report):
        for result in client.add(batch, collection).documents:
            report(result)


def _batches(loaded: Iterable[Loaded], report: Callable[[DocumentResult], None]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    chars = 0
    for item in loaded:
        if isinstance(item, DocumentResult):
            report(item)
            continue
        if batch and (chars + len(item.text) > _BATCH_CHARS or len(batch) >= min(_BATCH_DOCUMENTS, MAX_DOCUMENTS_PER_REQUEST)):
            yield batch
            batch, chars = [], 0
        batch.append(item)
        chars += len(item.text)
    if batch:
        yield batch
