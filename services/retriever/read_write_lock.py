"""A lock that many readers or one writer hold; the standard library has none."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadWriteLock:
    """Readers share, a writer is alone. A waiting writer holds back new readers, so that a stream of readers can't starve it. Not reentrant."""

    def __init__(self) -> None:
        self._turnstile = threading.Lock()
        self._changed = threading.Condition()
        self._readers = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the lock beside other readers; blocks while a writer holds it or waits for it."""
        with self._turnstile, self._changed:
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock alone; blocks until the readers that are inside have left."""
        with self._turnstile:
            with self._changed:
                self._changed.wait_for(lambda: self._readers == 0)
            yield
