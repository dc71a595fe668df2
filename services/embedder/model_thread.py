"""Whose turn it is on the model. One thread computes pass after pass, each of what waits at that moment, whoever asked; bulk lets the rest pass."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np

from core.schemas import BatchStats
from core.vectors import Vector
from services.embedder.engines.engine import Engine, without_pause

T = TypeVar("T")

# Passes that may go before a bulk pass, and then between any two layers of it: what is urgent can slow bulk down, but not hold it up for ever.
_MOST_AT_ONCE = 8


@dataclass(frozen=True)
class Pass:
    """A forward pass: the texts that began with it, its tokens without and with padding, its seconds and those that each text had waited."""

    items: int
    tokens: int
    computed_tokens: int
    seconds: float
    waits_s: tuple[float, ...]


Observer = Callable[[Pass], None]


@dataclass(eq=False)
class _Call:
    """The windows of some texts, as they become vectors. `seconds` and `items` are those of the passes, by text."""

    engine: Engine
    vectors: list[Vector | None]
    done: "asyncio.Future[None]"
    arrived: float = field(default_factory=time.perf_counter)
    waited: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    items: dict[int, int] = field(default_factory=dict)
    left: int = 0


class _Window(NamedTuple):
    call: _Call
    place: int
    text: int
    ids: Sequence[int]


class _Job(NamedTuple):
    work: Callable[[], Any]
    done: "asyncio.Future[Any]"


class ModelThread:
    """See the module. Its methods are called on an event loop."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._changed = threading.Condition()
        self._urgent: list[_Window | _Job] = []
        self._bulk: list[_Window | _Job] = []
        self._urgent_s = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    async def embed(self, engine: Engine, cut: Sequence[Sequence[Sequence[int]]], *, bulk: bool = False) -> tuple[Vector, list[BatchStats]]:
        """Unit vectors `[windows, dim]` of the windows of texts, and in what company each text was computed. Cancelled, it leaves the queue."""
        count = sum(map(len, cut))
        call = _Call(engine, [None] * count, asyncio.get_running_loop().create_future(), left=count)
        windows = [(text, ids) for text, own in enumerate(cut) for ids in own]
        if windows:
            self._add(self._bulk if bulk else self._urgent, [_Window(call, place, *window) for place, window in enumerate(windows)])
            await self._wait(call.done)
        stats = [
            BatchStats(items=call.items[text], queue_ms=round(call.waited[text] * 1000, 2), compute_ms=round(call.seconds[text] * 1000, 2))
            for text in range(len(cut))
        ]
        return np.stack([vector for vector in call.vectors if vector is not None]) if windows else np.empty((0, 0), np.float32), stats

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, called on the thread of the model in its turn, before bulk."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._add(self._urgent, [_Job(work, done)])
        return await self._wait(done)

    def close(self) -> None:
        """End the thread after the pass that runs. Whoever waits is left waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _add(self, queue: list[_Window | _Job], entries: Sequence[_Window | _Job]) -> None:
        with self._changed:
            queue.extend(entries)
            self._changed.notify()

    async def _wait(self, done: "asyncio.Future[T]") -> T:
        try:
            return await done
        except asyncio.CancelledError:
            with self._changed:
                for queue in (self._urgent, self._bulk):
                    queue[:] = [entry for entry in queue if _future(entry) is not done]
            raise

    # -- on the thread -----------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._urgent or self._bulk)
                if self._closed:
                    return
            self._let_urgent_pass()
            self._compute_next(self._bulk, self._let_urgent_pass)

    def _let_urgent_pass(self) -> None:
        started = time.perf_counter()
        for _ in range(_MOST_AT_ONCE):
            if not self._urgent:
                break
            self._compute_next(self._urgent, without_pause)
        self._urgent_s += time.perf_counter() - started

    def _compute_next(self, queue: list[_Window | _Job], pause: Callable[[], None]) -> None:
        with self._changed:
            taken = _take(queue)
        if not taken:
            return
        try:
            if isinstance(taken[0], _Job):
                _tell(taken[0].done, taken[0].work())
            else:
                self._pass([window for window in taken if isinstance(window, _Window)], pause)
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            for done in {_future(entry) for entry in taken}:
                _tell(done, error)
            with self._changed:
                queue[:] = [entry for entry in queue if _future(entry) not in {_future(one) for one in taken}]

    def _pass(self, windows: Sequence[_Window], pause: Callable[[], None]) -> None:
        started, urgent_s = time.perf_counter(), self._urgent_s
        vectors, computed = windows[0].call.engine.forward([window.ids for window in windows], pause)
        seconds = time.perf_counter() - started - (self._urgent_s - urgent_s)
        texts = {(window.call, window.text) for window in windows}
        fresh = [(call, text) for call, text in texts if text not in call.waited]
        for call, text in fresh:
            call.waited[text] = started - call.arrived
        for call, text in texts:
            call.items[text] = len(texts)
            call.seconds[text] = call.seconds.get(text, 0.0) + seconds
        waits = tuple(call.waited[text] for call, text in fresh)
        self._observe(Pass(len(fresh), sum(len(window.ids) for window in windows), computed, seconds, waits))
        for window, vector in zip(windows, vectors, strict=True):
            window.call.vectors[window.place] = vector
            window.call.left -= 1
            if not window.call.left:
                _tell(window.call.done, None)


def _take(queue: list[_Window | _Job]) -> list[_Window | _Job]:
    """Take out of `queue` what is computed together with its oldest entry."""
    if not queue:
        return []
    first = queue[0]
    places = [0]
    if isinstance(first, _Window):
        own = [(place, entry) for place, entry in enumerate(queue) if isinstance(entry, _Window) and entry.call.engine is first.call.engine]
        places = [own[index][0] for index in first.call.engine.take([len(entry.ids) for _, entry in own])]
    taken = [queue[place] for place in places]
    gone = set(places)
    queue[:] = [entry for place, entry in enumerate(queue) if place not in gone]
    return taken


def _future(entry: _Window | _Job) -> "asyncio.Future[Any]":
    return entry.done if isinstance(entry, _Job) else entry.call.done


def _tell(future: "asyncio.Future[Any]", outcome: object) -> None:
    """Give `outcome` to who waits, on its own loop."""

    def resolve() -> None:
        if future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    loop = future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(resolve)
