import asyncio
from collections.abc import AsyncGenerator

import pytest

from core.errors import DeadlineExceeded
from pipelines.answering.stages import Stages


async def _numbers(pause_s: float, closed: asyncio.Event) -> AsyncGenerator[int, None]:
    try:
        for number in range(3):
            await asyncio.sleep(pause_s)
            yield number
    finally:
        closed.set()


async def test_a_deadline_counts_the_time_of_the_source_and_closes_it() -> None:
    closed = asyncio.Event()
    deadline = Stages(10).deadline(0.03, "the counting")
    with pytest.raises(DeadlineExceeded, match=r"the counting took longer than 0\.03 s"):
        assert [number async for number in deadline.each(_numbers(0.02, closed))]
    assert closed.is_set()


async def test_a_deadline_that_passes_while_the_reader_is_busy_cuts_off_the_source_and_not_the_reader() -> None:
    finished = []

    async def read() -> None:
        async for number in Stages(10).deadline(0.01, "the counting").each(_numbers(0, asyncio.Event())):
            await asyncio.sleep(0.03)
            finished.append(number)

    with pytest.raises(DeadlineExceeded):
        await read()
    assert finished == [0]


async def test_a_source_is_closed_with_its_reader() -> None:
    closed = asyncio.Event()
    numbers = Stages(10).deadline(5, "the counting").each(_numbers(0, closed))
    assert await anext(numbers) == 0
    await numbers.aclose()
    assert closed.is_set()


async def test_one_deadline_holds_for_many_waits_at_once() -> None:
    deadline = Stages(10).deadline(0.02, "the wait")

    async def wait(seconds: float) -> str:
        async with deadline.kept():
            await asyncio.sleep(seconds)
        return "done"

    results = await asyncio.gather(wait(0), wait(5), wait(5), return_exceptions=True)
    assert results[0] == "done"
    assert [type(result) for result in results[1:]] == [DeadlineExceeded, DeadlineExceeded]


async def test_a_timeout_from_inside_is_not_taken_for_the_deadline() -> None:
    with pytest.raises(TimeoutError, match="own"):
        async with Stages(10).deadline(5, "the wait").kept():
            raise TimeoutError("own")


async def test_the_end_of_all_stages_comes_before_a_later_deadline() -> None:
    with pytest.raises(DeadlineExceeded, match=r"the answer took longer than 0\.02 s"):
        async with Stages(0.02).deadline(5, "the wait").kept():
            await asyncio.sleep(5)


async def test_the_first_token_is_told_once_and_is_no_stage() -> None:
    stages = Stages(10)
    stages.done("retrieve")
    stages.first_token()
    early = stages.total()["first_token"]
    await asyncio.sleep(0.01)
    stages.first_token()
    total = stages.total()
    assert list(total) == ["retrieve", "verify", "first_token", "total"]
    assert total["first_token"] == early <= total["total"]
