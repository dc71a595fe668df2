"""Two toy services, with BentoML's traps cured as in Ekiben's own services, or as they come where TOY_WITHOUT_CURES is set.

TOY_CONCURRENT_BATCHES lets so many batches run at once.

`Caller` depends on `Callee`; TOY_CALLEE_URL says where it runs when it is not a child of the same server.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal, TypeVar

import bentoml
from bentoml._internal.marshal.dispatcher import Optimizer
from pydantic import BaseModel

from core.errors import ErrorInfo, GenerationFailed, error_from
from core.settings import LoggingSettings
from core.telemetry import configure_logging
from services.bentoml_batches import allow_concurrent_batches
from services.bentoml_runtime import answers_errors, call, cap_batch_wait, checked_batch, events, is_ready, service_config, stream_events
from services.border import behind_border

CURED = "TOY_WITHOUT_CURES" not in os.environ
TIMEOUT_S = 20.0
MAX_BATCH_ITEMS = 8
BATCH_SECONDS = 0.01
HOLD_SECONDS = 0.4
MAX_BODY_BYTES = 1_000_000
_LOGGING = LoggingSettings(level="INFO", format="console")

# BentoML learns how long to wait every 5 s, which is longer than a test's burst.
Optimizer.INTERVAL_REFRESH_PARAMS = 0.2  # type: ignore[assignment]

F = TypeVar("F", bound=Callable[..., Any])


class Item(BaseModel):
    """One item of a batch. `hold` keeps the batch busy, so that others gather; `short` makes it lose a result; `poison` can't be done."""

    number: int
    kind: Literal["good", "hold", "short", "poison"] = "good"


class Result(BaseModel):
    """What became of an item, and how many items its batch had."""

    number: int
    batch_items: int
    error: ErrorInfo | None = None


class StreamSpec(BaseModel):
    """`count` events of about `text_chars` characters, `pause_s` apart; where `fail_at` is given, an error instead of that event."""

    count: int
    text_chars: int = 1
    pause_s: float = 0.0
    fail_at: int | None = None


def _cured(decorate: Callable[[Any], Any]) -> Callable[[F], F]:
    return decorate if CURED else lambda function: function


def _config() -> dict[str, Any]:
    return service_config(TIMEOUT_S) if CURED else {"workers": 1, "traffic": {"timeout": TIMEOUT_S}}


def _compute(items: Sequence[Item]) -> list[Result]:
    results = [_result(item, len(items)) for item in items]
    return results[1:] if any(item.kind == "short" for item in items) else results


def _result(item: Item, batch_items: int) -> Result:
    error = GenerationFailed(f"item {item.number} is poison").info() if item.kind == "poison" else None
    return Result(number=item.number, batch_items=batch_items, error=error)


@bentoml.service(name="Callee", **_config())
class Callee:
    """Does what it is told."""

    def __init__(self) -> None:
        configure_logging(_LOGGING, "callee")
        if CURED:
            cap_batch_wait(0.002)
        if concurrent := os.environ.get("TOY_CONCURRENT_BATCHES"):
            allow_concurrent_batches(int(concurrent))
        self._produced = 0

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_ITEMS, max_latency_ms=int(TIMEOUT_S * 1000))
    @_cured(checked_batch)
    async def work(self, items: list[Item]) -> list[Result]:
        await asyncio.sleep(HOLD_SECONDS if any(item.kind == "hold" for item in items) else BATCH_SECONDS)
        return _compute(items)

    @bentoml.api
    async def count(self, spec: StreamSpec) -> AsyncIterator[str]:
        async for line in events(self._numbers(spec)):
            yield line

    async def _numbers(self, spec: StreamSpec) -> AsyncIterator[dict[str, object]]:
        for number in range(spec.count):
            if number == spec.fail_at:
                raise GenerationFailed(f"no event {number}")
            await asyncio.sleep(spec.pause_s)
            self._produced += 1
            yield {"event": "number", "number": number, "text": "駅弁🍱" * (spec.text_chars // 3)}

    @bentoml.api
    @answers_errors
    async def fail(self, error: ErrorInfo) -> str:
        raise error_from(error)

    @bentoml.api
    async def produced(self) -> int:
        return self._produced

    @bentoml.api
    async def nap(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @bentoml.api
    async def wire(self, ctx: bentoml.Context) -> str:
        """The media type that the caller sent."""
        return str(ctx.request.headers["content-type"])


@bentoml.service(name="Caller", **_config())
class Caller:
    """Hands everything on to Callee."""

    callee = bentoml.depends(Callee, url=os.environ.get("TOY_CALLEE_URL"))

    def __init__(self) -> None:
        configure_logging(_LOGGING, "caller")
        self._needs_callee = True

    async def _call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await (call("Callee", method, TIMEOUT_S, *args, **kwargs) if CURED else method(*args, **kwargs))

    @bentoml.api
    @answers_errors
    async def work(self, items: list[Item]) -> list[Result]:
        return await self._call(self.callee.to_async.work, items)

    @bentoml.api
    @answers_errors
    async def fail(self, error: ErrorInfo) -> str:
        return await self._call(self.callee.to_async.fail, error)

    @bentoml.api
    @answers_errors
    async def nap(self, seconds: float, timeout_s: float) -> float:
        return await call("Callee", self.callee.to_async.nap, timeout_s, seconds)

    @bentoml.api
    async def wire(self) -> str:
        return await self._call(self.callee.to_async.wire)

    @bentoml.api
    async def produced(self) -> int:
        return await self._call(self.callee.to_async.produced)

    @bentoml.api
    async def need_callee(self, needed: bool) -> None:
        """Whether this service is ready without its dependency."""
        self._needs_callee = needed

    @bentoml.api
    async def relay(self, spec: StreamSpec) -> AsyncIterator[str]:
        async for line in events(stream_events("Callee", self.callee, "/count", {"spec": spec.model_dump()})):
            yield line

    @bentoml.api
    async def relay_uncured(self, spec: StreamSpec) -> list[str]:
        return [piece async for piece in self.callee.to_async.count(spec)]

    if CURED:

        async def __is_ready__(self) -> bool:
            return not self._needs_callee or await is_ready(self.callee, 1.0)


if CURED:
    behind_border(Callee, MAX_BODY_BYTES)
    behind_border(Caller, MAX_BODY_BYTES, entrance=True)
