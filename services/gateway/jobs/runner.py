"""Works off the jobs, one item after the other, from the start of the service to its end."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from core.errors import (
    DocumentTooLarge,
    DocumentUnreadable,
    EkibenError,
    IndexMismatch,
    InvalidRequest,
    NotReady,
    StoreCorrupt,
    UnavailableError,
    UploadDamaged,
    error_from,
)
from core.schemas import Document, DocumentResult, FieldMap, Job
from core.settings import IngestionSettings, JobsSettings
from pipelines.ingestion.ingest import IngestDocuments
from pipelines.ingestion.isolating import IsolatedLoader
from pipelines.ingestion.loading.source import printable
from pipelines.ingestion.refusing import Loaded, refuse
from services.border import under_request_id
from services.gateway.jobs.queue import Item, JobQueue, Upload
from services.gateway.jobs.spool import fault_of

MAX_STARTS: Final = 3
FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0
_LOOK_EVERY_S: Final = 600.0
_DOCUMENTS_AT_ONCE: Final = 64

# What an operator or time puts right: nothing is wrong with the item.
_WORTH_WAITING = (UnavailableError, IndexMismatch, StoreCorrupt)

log = logging.getLogger("ekiben.jobs")


class Jobs:
    """The queue and the task that works it off. Both are there inside `running` only."""

    def __init__(
        self,
        settings: JobsSettings,
        limits: IngestionSettings,
        ingest: IngestDocuments,
        loader: IsolatedLoader,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._ingest = ingest
        self._loader = loader
        self._first_pause_s = first_pause_s
        self._queue: JobQueue | None = None
        self._arrival = asyncio.Event()

    @property
    def queue(self) -> JobQueue:
        """The jobs on the disk; raises NotReady before the start and after the end."""
        if self._queue is None:
            raise NotReady("jobs are not taken: the service is starting or shutting down")
        return self._queue

    async def submit(self, collection: str, fields: FieldMap, uploads: Sequence[Upload]) -> Job:
        """Accept a job; see `JobQueue.submit`."""
        queue, loop = self.queue, asyncio.get_running_loop()

        def submit() -> Job:
            # The thread brings the news itself: its caller may have given up before the end.
            job = queue.submit(collection, fields, uploads)
            loop.call_soon_threadsafe(self._arrival.set)
            return job

        return await asyncio.to_thread(submit)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the queue and work it off until the block ends; what is in work then is left for the next start. Once only."""
        queue = self._queue = await asyncio.to_thread(JobQueue.open, self._settings)
        worker = asyncio.create_task(self._work(ItemWorker(queue, self._loader, self._ingest, self._limits)))
        try:
            yield
        finally:
            self._queue = None
            worker.cancel()
            self._loader.close()
            with suppress(asyncio.CancelledError):
                await worker
            await asyncio.to_thread(queue.close)

    async def _work(self, worker: "ItemWorker") -> None:
        pause_s = self._first_pause_s
        while True:
            self._arrival.clear()
            try:
                if not await worker.work_one():
                    await self._wait_for_arrival()
                pause_s = self._first_pause_s
            except _WORTH_WAITING as error:
                log.warning("jobs wait", extra={"code": error.code, "reason": error.message, "seconds": pause_s})
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            except Exception:
                # The outermost edge: an item that fails in an unforeseen way is taken MAX_STARTS times, and must not end the others' work.
                log.exception("an item of a job failed")
                await asyncio.sleep(pause_s)

    async def _wait_for_arrival(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY_S):
                await self._arrival.wait()


class ItemWorker:
    """Takes one item and brings it to its end."""

    def __init__(self, queue: JobQueue, loader: IsolatedLoader, ingest: IngestDocuments, limits: IngestionSettings) -> None:
        self._queue = queue
        self._loader = loader
        self._ingest = ingest
        self._limits = limits

    async def work_one(self) -> bool:
        """Whether there was an item. Raises what an item is not to blame for; it is handed out again then."""
        item = await asyncio.to_thread(self._queue.take)
        if item is None:
            return False
        with under_request_id(item.job_id):
            try:
                await asyncio.to_thread(self._queue.finish, item, await self._results(item))
            except (*_WORTH_WAITING, asyncio.CancelledError):
                with suppress(EkibenError):
                    self._queue.put_back(item)
                raise
        return True

    async def _results(self, item: Item) -> list[DocumentResult]:
        """What became of the documents in `item`; of a job that is cancelled meanwhile those that were stored before."""
        try:
            self._check(item)
            if not await self._is_there(item):
                return []
            if item.kind == "json":
                raw = await asyncio.to_thread(lambda: json.loads(item.path.read_bytes()))
                return _named(item, _final(await self._ingest([raw], item.collection)))
            load = self._loader.load_file
            loaded = await asyncio.to_thread(load, item.path, id=item.id, name=item.id, fields=item.fields)
            return await self._store(item, _once_each(loaded))
        except _WORTH_WAITING:
            raise
        except EkibenError as error:
            log.warning("an item of a job is refused", extra={"code": error.code})
            return [DocumentResult(id=item.id, state="failed", error=error.info())]

    def _check(self, item: Item) -> None:
        name = printable(item.id)
        if item.starts > MAX_STARTS:
            raise DocumentUnreadable(f"{name}: was begun {MAX_STARTS} times, and each time the service ended; send it again by itself, or split it")
        if item.repeated:
            raise InvalidRequest(f"id: {item.id!r} occurs twice in this request; send each document once")
        if item.kind == "file" and item.content.size > self._limits.max_file_bytes:
            limit = self._limits.max_file_bytes
            raise DocumentTooLarge(f"{name}: {item.content.size} bytes are above the limit of {limit} (ingestion.max_file_bytes); split the file")

    async def _is_there(self, item: Item) -> bool:
        """False where the job was cancelled meanwhile; raises UploadDamaged where its file is not what was sent."""
        fault = await asyncio.to_thread(fault_of, item.path, item.content)
        if fault is None:
            return True
        if not await asyncio.to_thread(self._queue.is_wanted, item):
            return False
        raise UploadDamaged(f"{printable(item.id)}: the upload {fault}; send it again, and look after the disk of jobs.data_dir")

    async def _store(self, item: Item, loaded: Sequence[Loaded]) -> list[DocumentResult]:
        results: list[DocumentResult] = []
        for first in range(0, len(loaded), _DOCUMENTS_AT_ONCE):
            if not await asyncio.to_thread(self._queue.is_wanted, item):
                break
            results += _final(await self._ingest.ingest_documents(loaded[first : first + _DOCUMENTS_AT_ONCE], item.collection))
        return results


def _final(results: Sequence[DocumentResult]) -> Sequence[DocumentResult]:
    """`results`; raises the error of a document that may be stored later. Those that are stored then come back as unchanged."""
    for result in results:
        if result.error and result.error.retryable:
            raise error_from(result.error)
    return results


def _named(item: Item, results: Sequence[DocumentResult]) -> list[DocumentResult]:
    """A document without an id is known by its place in the request, not by its place in this call."""
    return [result.model_copy(update={"id": item.id}) if result.id == "#0" else result for result in results]


def _once_each(loaded: Sequence[Loaded]) -> list[Loaded]:
    """`loaded` with the second document of the same id refused, because they are stored a few at a time."""
    seen: set[str] = set()
    return [_unless_seen(one, seen) if isinstance(one, Document) else one for one in loaded]


def _unless_seen(document: Document, seen: set[str]) -> Loaded:
    if document.id in seen:
        return refuse(document.id, InvalidRequest(f"id: {document.id!r} occurs twice in this file; send each document once"))
    seen.add(document.id)
    return document
