"""A thread that comes by now and then."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from core.errors import EkibenError

_EVERY_S: Final = 1.0

log = logging.getLogger("ekiben.retriever")


class Upkeep:
    """Calls `work` every second until `stop`. An error of ours is logged, and the next second is another try."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let a running call end, and begin no other."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            try:
                self._work()
            except EkibenError as error:
                log.warning("upkeep failed", extra={"code": error.code, "error": error.message})
