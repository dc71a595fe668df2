"""How long each item of a batch has waited in BentoML's queue, which its dispatcher knows and doesn't tell."""

import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from bentoml._internal.marshal.dispatcher import CorkDispatcher

from core.schemas import BatchStats
from core.telemetry import BATCH_WAIT_SECONDS

_waits: ContextVar[Sequence[float]] = ContextVar("batch_waits", default=())
_send_out = CorkDispatcher.outbound_call


async def _send_out_with_waits(self: Any, jobs: tuple[Any, ...], training: bool = False) -> None:
    now = time.time()
    # Each batch goes out in a task, and so a context, of its own.
    _waits.set([now - job.enqueue_time for job in jobs for _ in range(self.get_batch_size(job.data))])
    await _send_out(self, jobs, training)


CorkDispatcher.outbound_call = _send_out_with_waits  # type: ignore[assignment, method-assign]


def batch_stats(service: str, operation: str, items: int, compute_s: float) -> list[BatchStats]:
    """In what company each of the `items` of the batch that this task works on was computed. A call that was not queued has not waited."""
    waits = _waits.get()
    if len(waits) != items:
        waits = [0.0] * items
    for wait in waits:
        BATCH_WAIT_SECONDS.labels(service=service, operation=operation).observe(wait)
    return [BatchStats(items=items, queue_ms=round(wait * 1000, 2), compute_ms=round(compute_s * 1000, 2)) for wait in waits]
