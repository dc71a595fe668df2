"""How long the stages of an answer took, and until when each may take."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

from core.errors import DeadlineExceeded
from core.telemetry import FIRST_TOKEN_SECONDS, STAGE_SECONDS

T = TypeVar("T")


class Stages:
    """Milliseconds by stage, from now on. `limit_s` bounds all of them together."""

    def __init__(self, limit_s: float) -> None:
        self._start = self._last = time.perf_counter()
        self._limit_s = limit_s
        self._end = asyncio.get_running_loop().time() + limit_s
        self._first_token_s: float | None = None
        self.milliseconds: dict[str, float] = {}

    def done(self, stage: str) -> None:
        """The stage that went on since the last call is done."""
        now = time.perf_counter()
        STAGE_SECONDS.labels(stage=stage).observe(now - self._last)
        self.milliseconds[stage] = _milliseconds(now - self._last)
        self._last = now

    def first_token(self) -> None:
        """A text of the answer is there; only the first call counts."""
        if self._first_token_s is None:
            self._first_token_s = time.perf_counter() - self._start
            FIRST_TOKEN_SECONDS.observe(self._first_token_s)

    def total(self) -> dict[str, float]:
        """All stages, the time to the first token where there was one, and the sum."""
        self.done("verify")
        first = {} if self._first_token_s is None else {"first_token": _milliseconds(self._first_token_s)}
        return {**self.milliseconds, **first, "total": _milliseconds(self._last - self._start)}

    def deadline(self, seconds: float, what: str) -> "Deadline":
        """`seconds` from now, or the end of all stages where that is sooner."""
        own = asyncio.get_running_loop().time() + seconds
        if own <= self._end:
            return Deadline(own, f"{what} took longer than {seconds:g} s")
        return Deadline(self._end, f"the answer took longer than {self._limit_s:g} s")


class Deadline:
    """A moment of the event loop's clock, for any number of waits. What waits until then gets DeadlineExceeded, which names what was late."""

    def __init__(self, at: float, message: str) -> None:
        self._at = at
        self._message = message

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None, None]:
        """Cut off what goes on in the block at the deadline."""
        try:
            async with asyncio.timeout_at(self._at) as timeout:
                yield
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise DeadlineExceeded(self._message) from error

    async def each(self, source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """What `source` yields. The deadline cuts off the wait for it, never what the reader does meanwhile: a timeout around a `yield` would."""
        async with aclosing(source):
            while True:
                async with self.kept():
                    try:
                        item = await anext(source)
                    except StopAsyncIteration:
                        return
                yield item


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
