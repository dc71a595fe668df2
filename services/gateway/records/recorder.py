"""Takes answers to the book of records behind their requests: nobody waits for it, and nothing that goes wrong there reaches an answer."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from core.errors import AnswerNotFound, EkibenError
from core.schemas import Answer, AnswerRecord, AnswerRequest
from core.settings import RecordsSettings
from core.telemetry import RECORDS
from services.clock import now
from services.gateway.records.book import RecordBook

MAX_WAITING: Final = 4_096
# What comes meanwhile shares the next transaction.
GATHER_S: Final = 0.2
_LOOK_EVERY_S: Final = 3_600.0

log = logging.getLogger("ekiben.records")


class Recorder:
    """The book and the task that writes into it. Both are there inside `running` only, and only where `records.keep` is above 0."""

    def __init__(self, settings: RecordsSettings) -> None:
        self._settings = settings
        self._book: RecordBook | None = None
        self._waiting: dict[str, AnswerRecord] = {}
        self._arrival = asyncio.Event()
        self._ending = asyncio.Event()
        self._failing = False

    def keep(self, request: AnswerRequest, answer: Answer, replay_of: str | None = None) -> None:
        """Have `answer` recorded soon. Never blocks, never raises; where more wait than the disk takes, the record is lost and counted."""
        if self._book is None:
            return
        if len(self._waiting) >= MAX_WAITING:
            RECORDS.labels(outcome="lost").inc()
            return
        self._waiting[answer.id] = AnswerRecord(id=answer.id, created_at=now(), replay_of=replay_of, request=request, answer=answer)
        self._arrival.set()

    async def find(self, answer_id: str) -> AnswerRecord:
        """The record of an answer, from the moment it was given; raises AnswerNotFound, and what `RecordBook.find` does."""
        if waiting := self._waiting.get(answer_id):
            return waiting
        if self._book is None:
            raise AnswerNotFound("answers are not recorded here (records.keep is 0)")
        return await asyncio.to_thread(self._book.find, answer_id)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold the book and write into it until the block ends; what waits then is written first. Once only.

        Raises StoreLocked and InvalidSettings as `RecordBook.open` does.
        """
        if not self._settings.keep:
            yield
            return
        book = self._book = await asyncio.to_thread(RecordBook.open, self._settings)
        writer = asyncio.create_task(self._write_on(book))
        try:
            yield
        finally:
            self._book = None
            self._ending.set()
            self._arrival.set()
            await writer
            await asyncio.to_thread(book.close)

    async def _write_on(self, book: RecordBook) -> None:
        while not self._ending.is_set():
            await self._write(book)
            await _within(_LOOK_EVERY_S, self._arrival)
            self._arrival.clear()
            await _within(GATHER_S, self._ending)
        await self._write(book)

    async def _write(self, book: RecordBook) -> None:
        """Write what waits, and forget what is old; a batch that can't be written is lost."""
        batch = list(self._waiting.values())
        try:
            await asyncio.to_thread(book.keep, batch)
        except (EkibenError, OSError) as error:
            self._note(batch, error)
        except Exception as error:
            # The outermost edge: the next batch may be written.
            log.exception("records of answers failed")
            self._note(batch, error)
        else:
            self._note(batch, None)
        for record in batch:
            del self._waiting[record.id]

    def _note(self, batch: list[AnswerRecord], error: Exception | None) -> None:
        """Count a batch, and log when its kind of end is another than before."""
        RECORDS.labels(outcome="lost" if error else "kept").inc(len(batch))
        if error and not self._failing:
            log.error("answers are not recorded until this is put right", extra={"error": str(error)})
        elif self._failing and not error:
            log.info("answers are recorded again")
        self._failing = error is not None


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Return when `event` is set, and after `seconds` at the latest."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
