import asyncio

import pytest
from bentoml._internal.marshal.dispatcher import CorkDispatcher

from core.schemas import BatchStats
from services.batch_items import batch_stats, each_while_wanted

COMPUTE_S = 0.05


async def test_each_item_of_a_batch_is_told_how_long_it_waited() -> None:
    batches: list[list[BatchStats]] = []

    async def compute(items: tuple[int, ...]) -> list[int]:
        await asyncio.sleep(COMPUTE_S)
        batches.append(batch_stats("tester", "compute", sum(items), COMPUTE_S))
        return list(items)

    # An "item" here is a job that stands for as many items as its number says.
    dispatcher = CorkDispatcher(10_000, 10, fallback=lambda: -1, get_batch_size=lambda size: size)
    queued = dispatcher(compute)
    first = asyncio.create_task(queued(1))
    await asyncio.sleep(COMPUTE_S / 2)  # the first is being computed when the second comes
    assert await asyncio.gather(first, queued(2)) == [1, 2]
    dispatcher.shutdown()
    (alone,), pair = batches
    assert alone.items == 1
    assert alone.compute_ms == COMPUTE_S * 1000
    assert 0 <= alone.queue_ms < 20
    assert [one.items for one in pair] == [2, 2]
    assert all(10 < one.queue_ms < 500 for one in pair)


def test_a_call_that_was_not_queued_has_not_waited() -> None:
    assert [one.queue_ms for one in batch_stats("tester", "compute", 3, 0.1)] == [0, 0, 0]


async def test_the_work_on_an_item_ends_with_its_caller_and_the_others_go_on() -> None:
    ended: list[int] = []
    started = asyncio.Event()

    async def work(item: int) -> int:
        started.set()
        try:
            await asyncio.sleep(0.05 if item == 2 else 30)
        finally:
            ended.append(item)
        return item

    async def compute(items: tuple[int, ...]) -> list[int]:
        return [result or -1 for result in await each_while_wanted(work, items)]

    dispatcher = CorkDispatcher(60_000, 10, fallback=lambda: -1, get_batch_size=lambda _: 1)
    queued = dispatcher(compute)
    leaving = asyncio.create_task(queued(1))
    await started.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    assert await queued(2) == 2
    assert ended == [1, 2]
    dispatcher.shutdown()


async def test_what_the_work_raises_is_raised() -> None:
    async def work(_: int) -> int:
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        await each_while_wanted(work, [1, 2])
