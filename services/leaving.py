"""Work that stops when its caller goes away. BentoML does everything to the end, unless it streams, and computes what waits in a batch's queue.

Importing this cures the queue; `serve_while_wanted` is for the border. `services.bentoml_runtime` guards the version of BentoML.
"""

import asyncio
import logging
from typing import Any, Final

from bentoml._internal.marshal import dispatcher
from bentoml.exceptions import BentoMLException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services import bentoml_runtime  # noqa: F401 - guards the version

CALLER_GONE: Final = 499
"""The status, in logs and metrics, of a request whose caller went away before it was answered; nginx calls it so."""


class CallerLeft(BentoMLException):
    """Nobody waits for this item of a batch any more."""


async def serve_while_wanted(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run `app`, and cancel it when the caller goes away before the answer is whole. Returns, or raises what `app` raises, when `app` has ended."""
    caller = _Caller(receive, send)
    work = asyncio.ensure_future(app(scope, caller.receive, caller.send))
    try:
        await asyncio.wait((work, caller.left), return_when=asyncio.FIRST_COMPLETED)
        if not work.done() and not caller.has_it_all:
            work.cancel()
        await asyncio.wait((work,))
        if not work.cancelled():
            work.result()
        elif not caller.was_answered:
            # Nobody reads it, but BentoML's timeout waits for something to be sent.
            await send({"type": "http.response.start", "status": CALLER_GONE, "headers": []})
            await send({"type": "http.response.body", "body": b""})
    finally:
        work.cancel()
        caller.forget()


class _Caller:
    """Both ends of a connection. Once the request is read, it is listened for the caller's leaving, which `left` tells."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._listening: asyncio.Future[Message] | None = None
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.was_answered = self.has_it_all = False

    async def receive(self) -> Message:
        if self._listening is not None:
            return await asyncio.shield(self._listening)
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._listening = asyncio.ensure_future(self._listen())
        return message

    async def send(self, message: Message) -> None:
        self.was_answered = True
        self.has_it_all |= message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)

    def forget(self) -> None:
        """Listen no more."""
        self.left.cancel()
        if self._listening is not None:
            self._listening.cancel()

    async def _listen(self) -> Message:
        message = await self._receive()
        if not self.left.done():
            self.left.set_result(None)
        return message


_inbound_call = dispatcher.CorkDispatcher.inbound_call


async def _call_while_wanted(self: Any, data: Any) -> Any:
    """Wait for the result of an item; one that was cancelled leaves the queue."""
    try:
        return await _inbound_call(self, data)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            raise  # the dispatcher's own way to say that it takes too long
        wanted = [job for job in self._queue if not job.future.cancelled()]
        self._queue.clear()
        self._queue.extend(wanted)
        # The dispatcher would take the cancellation for its own, and BentoML log it.
        raise CallerLeft("the caller went away") from error


class _WithoutThoseWhoLeft(logging.Filter):
    """Drops BentoML's tracebacks of callers that went away, also while their request was being read."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], CallerLeft | ClientDisconnect))


dispatcher.CorkDispatcher.inbound_call = _call_while_wanted  # type: ignore[method-assign]
logging.getLogger("bentoml._internal.server.http_app").addFilter(_WithoutThoseWhoLeft())
