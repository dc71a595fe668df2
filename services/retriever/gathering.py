"""Calls from many threads, run together."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Call(Generic[T, R]):
    def __init__(self, item: T) -> None:
        self.item = item
        self.is_done = False
        self.results: list[R] = []
        self.error: BaseException | None = None


class Gathering(Generic[T, R]):
    """Calls that come while `at_once` runs are under way wait and are run as one, at most `most` of them; a call that comes alone waits for nothing.

    `run` gets items in the order they came and gives a result each. What it raises, all calls of that run raise. There is no thread of its own:
    one of the callers runs what waits.
    """

    def __init__(self, run: Callable[[Sequence[T]], Sequence[R]], most: int, at_once: int) -> None:
        self._run = run
        self._most = most
        self._free = at_once
        self._changed = threading.Condition()
        self._waiting: deque[_Call[T, R]] = deque()

    def __call__(self, item: T) -> R:
        """The result for `item`; blocks."""
        call: _Call[T, R] = _Call(item)
        with self._changed:
            self._waiting.append(call)
        while batch := self._next_batch(call):
            self._finish(batch)
        if call.error is not None:
            raise call.error
        return call.results[0]

    def _next_batch(self, call: _Call[T, R]) -> list[_Call[T, R]]:
        """What is to be run by the thread of `call`; empty once that is done."""
        with self._changed:
            self._changed.wait_for(lambda: call.is_done or (self._free and self._waiting))
            if call.is_done:
                return []
            self._free -= 1
            return [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]

    def _finish(self, batch: Sequence[_Call[T, R]]) -> None:
        try:
            results = self._run([call.item for call in batch])
            for call, result in zip(batch, results, strict=True):
                call.results.append(result)
        except BaseException as error:  # noqa: BLE001 - raised again by every call
            for call in batch:
                call.error = error
        finally:
            with self._changed:
                self._free += 1
                for call in batch:
                    call.is_done = True
                self._changed.notify_all()
