"""A client of an ASGI response that reads while it is written, and can go away."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message

SCOPE: dict[str, Any] = {"type": "http", "asgi": {"spec_version": "2.3"}, "method": "POST", "path": "/", "headers": []}


class Reader:
    """Keeps what is sent; `leave` is a client that goes away, and `leave_at` says of what was received so far whether it does now."""

    def __init__(self, leave_at: Callable[[str], bool] = lambda _: False) -> None:
        self.started: Message = {}
        self.text = ""
        self._leave_at = leave_at
        self._gone = asyncio.Event()

    def leave(self) -> None:
        self._gone.set()

    async def read(self, app: ASGIApp) -> "Reader":
        async with asyncio.timeout(5.0):
            await app(dict(SCOPE), self._receive, self._send)
        return self

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.started["headers"]}

    async def _receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = message
        self.text += message.get("body", b"").decode()
        if self._leave_at(self.text):
            self.leave()
