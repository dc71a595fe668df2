"""Uploaded files to documents, in a process of their own: parsing is CPU work that would hold up every other request."""

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import PurePosixPath

from starlette.datastructures import UploadFile

from core.errors import DocumentError, DocumentTooLarge, DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading import load_bytes
from pipelines.ingestion.refusing import Loaded, refuse


class FileLoader:
    """Loads uploads one after the other in a worker process, which starts with the first one."""

    def __init__(self, limits: IngestionSettings) -> None:
        self._limits = limits
        self._pool: ProcessPoolExecutor | None = None
        # One file in the process at a time: if it dies, that file is to blame and no other one waits in the same pool.
        self._turn = asyncio.Lock()

    async def load(self, file: UploadFile) -> list[Loaded]:
        """The documents in `file`, or one failed result with what is wrong. The document id is the file's name."""
        name = PurePosixPath((file.filename or "").replace("\\", "/")).name or "unnamed"
        try:
            if (file.size or 0) > self._limits.max_file_bytes:
                raise DocumentTooLarge(f"{name} has {file.size} bytes, the limit is {self._limits.max_file_bytes} (ingestion.max_file_bytes)")
            content = await file.read()
            async with self._turn:
                return await self._load(name, content)
        except DocumentError as error:
            return [refuse(name, error)]

    async def _load(self, name: str, content: bytes) -> list[Loaded]:
        if self._pool is None:
            # spawn: a fork would copy the sockets and locks of a process full of threads.
            self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, _load, name, content, self._limits)
        except BrokenProcessPool as error:
            self._pool = None
            raise DocumentUnreadable(f"{name}: the parser died on it") from error

    def close(self) -> None:
        """End the worker process."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _load(name: str, content: bytes, limits: IngestionSettings) -> list[Loaded]:
    return load_bytes(name, content, id=name, limits=limits)
