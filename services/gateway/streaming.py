"""Server-sent events: how they are written, kept alive, and stopped when nobody listens."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import StreamingResponse
from starlette.types import Send

from core.errors import EkibenError, Internal
from services.error_shapes import INTERNAL

log = logging.getLogger("ekiben.stream")

KEEP_ALIVE_S = 15.0
KEEP_ALIVE = ": keep-alive\n\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

# The event loop itself holds on to no task.
_writers: set[asyncio.Task[None]] = set()


class EventStream(StreamingResponse):
    """Answers with the messages of `source` as they come, each made by `sse`, and with a comment after every 15 s without one.

    The source is read by a task of its own: a reader that is slow doesn't hold the work up, and one that goes away cancels it.
    """

    def __init__(self, source: AsyncGenerator[str, None], keep_alive_s: float = KEEP_ALIVE_S) -> None:
        super().__init__(source, headers=_HEADERS, media_type="text/event-stream")
        self._source = source
        self._keep_alive_s = keep_alive_s

    async def stream_response(self, send: Send) -> None:
        """See StreamingResponse; runs in a task that is cancelled when the client goes away."""
        async with aclosing(_kept_alive(self._source, self._keep_alive_s)) as messages:
            self.body_iterator = messages
            await super().stream_response(send)


def sse(data: object, event: str | None = None) -> str:
    """One message: `data` as ASCII JSON, which has no line end in it whatever counts as one, under the name `event`."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(',', ':'))}\n\n"


def fault_in_stream(error: Exception) -> EkibenError:
    """The error of ours to end a stream with that has begun; the log line that its status can't give any more. To be called where it is caught."""
    if isinstance(error, EkibenError):
        log.warning("a stream failed", extra={"code": error.code})
        return error
    log.exception("a stream failed")
    return Internal(INTERNAL)


async def _kept_alive(source: AsyncGenerator[str, None], every_s: float) -> AsyncGenerator[str, None]:
    """What `source` yields, and a comment after each `every_s` seconds of silence. Closing this closes `source`."""
    messages: asyncio.Queue[str | None] = asyncio.Queue()
    writer = asyncio.create_task(_write(source, messages))
    _writers.add(writer)
    writer.add_done_callback(_writers.discard)
    try:
        while (message := await _next(messages, every_s)) is not None:
            yield message
        await writer
    finally:
        writer.cancel()


async def _write(source: AsyncGenerator[str, None], messages: asyncio.Queue[str | None]) -> None:
    try:
        async with aclosing(source):
            async for message in source:
                messages.put_nowait(message)
    finally:
        messages.put_nowait(None)


async def _next(messages: asyncio.Queue[str | None], every_s: float) -> str | None:
    try:
        async with asyncio.timeout(every_s):
            return await messages.get()
    except TimeoutError:
        return KEEP_ALIVE
