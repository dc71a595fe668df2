"""Loads files in parallel and gives their documents in order, a bounded number of files ahead."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Protocol

from clients.ingesting.finding import SourceFile
from core.schemas import FieldMap
from pipelines.ingestion.refusing import Loaded

FILES_AHEAD = 2
"""Files that may be loaded and wait to be sent, for each worker."""


class LoadsFiles(Protocol):
    """What `pipelines.ingestion.isolating.IsolatedLoader` offers. Thread-safe."""

    def load_file(self, path: Path, *, id: str, name: str | None = None, fields: FieldMap = ...) -> list[Loaded]:  # noqa: A002
        """The documents in a file, or a failed result in their place."""


def load_all(files: Iterable[SourceFile], loader: LoadsFiles, workers: int, fields: FieldMap) -> Generator[list[Loaded], None, None]:
    """What is in each file, in order. `workers` files are loaded at once."""

    def load(file: SourceFile) -> list[Loaded]:
        # The last part of the id is the file's name, also where `path` is that of a copy.
        return loader.load_file(file.path, id=file.id, name=PurePosixPath(file.id).name, fields=fields)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="load")
    try:
        ahead: deque[Future[list[Loaded]]] = deque()
        for file in files:
            ahead.append(pool.submit(load, file))
            if len(ahead) >= workers * FILES_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        # Not waited for: whoever stops in the middle closes the loader next, which ends what still runs.
        pool.shutdown(wait=False, cancel_futures=True)
