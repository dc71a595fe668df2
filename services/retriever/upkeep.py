"""A thread that comes by now and then."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from core.errors import EkibenError

EVERY_S: Final = 1.0

log = logging.getLogger("ekiben.retriever")


class Upkeep:
    """Calls `work` every now and then until `close`. An error of ours is logged, and the next time is another try."""

    def __init__(self, work: Callable[[], None], every_s: float = EVERY_S) -> None:
        self._work = work
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let a running call end, and begin no other."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._work()
            except EkibenError as error:
                log.warning("upkeep failed", extra={"code": error.code, "error": error.message})
