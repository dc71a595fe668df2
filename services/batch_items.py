"""What BentoML's dispatcher knows of the items of a batch and doesn't tell: how long each has waited, and whether anybody still waits for it."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

from bentoml._internal.marshal.dispatcher import CorkDispatcher

from core.schemas import BatchStats
from core.telemetry import BATCH_WAIT_SECONDS
from services import bentoml_runtime  # noqa: F401 - guards the version

T = TypeVar("T")
R = TypeVar("R")


class _Item(NamedTuple):
    waited_s: float
    answer: "asyncio.Future[Any]"


_batch: ContextVar[Sequence[_Item]] = ContextVar("batch", default=())
_send_out = CorkDispatcher.outbound_call


async def _send_out_and_tell(self: Any, jobs: tuple[Any, ...], training: bool = False) -> None:
    now = time.time()
    # Each batch goes out in a task, and so a context, of its own.
    _batch.set([_Item(now - job.enqueue_time, job.future) for job in jobs for _ in range(self.get_batch_size(job.data))])
    await _send_out(self, jobs, training)


CorkDispatcher.outbound_call = _send_out_and_tell  # type: ignore[assignment, method-assign]


def batch_stats(service: str, operation: str, items: int, compute_s: float) -> list[BatchStats]:
    """In what company each of the `items` of the batch that this task works on was computed. A call that was not queued has not waited."""
    batch = _batch.get()
    waits = [item.waited_s for item in batch] if len(batch) == items else [0.0] * items
    for wait in waits:
        BATCH_WAIT_SECONDS.labels(service=service, operation=operation).observe(wait)
    return [BatchStats(items=items, queue_ms=round(wait * 1000, 2), compute_ms=round(compute_s * 1000, 2)) for wait in waits]


async def each_while_wanted(work: Callable[[T], Coroutine[Any, Any, R]], items: Sequence[T]) -> list[R | None]:
    """`work` on each item of the batch that this task works on, all at once; cancelled, and None, where the item's caller goes away."""
    tasks = [asyncio.create_task(work(item)) for item in items]
    batch = _batch.get()
    for item, task in zip(batch, tasks, strict=True) if len(batch) == len(tasks) else ():
        item.answer.add_done_callback(lambda answer, task=task: task.cancel() if answer.cancelled() else None)  # type: ignore[misc]
    try:
        results = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for task in tasks:
            task.cancel()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return [None if isinstance(result, BaseException) else result for result in results]
