import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from core.vectors import Vector
from services.embedder.model_thread import ModelThread, Pass

BUDGET = 10
LAYERS = 6


class Numbers:
    """An engine whose vectors are the first token of each window. Each of its layers takes until `gate` is open."""

    name = "numbers"

    def __init__(self) -> None:
        self.passes: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.layer_s = 0.0

    def take(self, lengths: Sequence[int]) -> list[int]:
        return list(range(max(1, BUDGET // lengths[0])))[: len(lengths)]

    def forward(self, windows: Sequence[Sequence[int]], pause: Callable[[], None]) -> tuple[Vector, int]:
        self.passes.append([ids[0] for ids in windows])
        for _ in range(LAYERS):
            assert self.gate.wait(10)
            time.sleep(self.layer_s)
            pause()
        if any(ids[0] < 0 for ids in windows):
            raise ValueError("a negative token")
        return np.array([[ids[0], 1] for ids in windows], dtype=np.float32), sum(map(len, windows))


@pytest.fixture
def passes() -> list[Pass]:
    return []


@pytest.fixture
def model(passes: list[Pass]) -> Iterator[ModelThread]:
    thread = ModelThread(passes.append)
    yield thread
    thread.close()


def _windows(*tokens: int, length: int = 5) -> list[list[list[int]]]:
    """One window a text."""
    return [[[token] * length] for token in tokens]


async def test_each_caller_gets_the_vectors_of_its_own_windows_in_order(model: ModelThread) -> None:
    engine = Numbers()
    calls = [
        model.embed(engine, _windows(*range(first, first + size)), bulk=bool(first % 2)) for first, size in ((1, 7), (100, 1), (200, 4), (301, 3))
    ]
    found = [vectors[:, 0].tolist() for vectors, _ in await asyncio.gather(*calls)]
    assert found == [[1, 2, 3, 4, 5, 6, 7], [100], [200, 201, 202, 203], [301, 302, 303]]


async def test_texts_of_several_calls_share_a_pass_and_are_told_so(model: ModelThread, passes: list[Pass]) -> None:
    engine = Numbers()
    engine.gate.clear()
    first = asyncio.create_task(model.embed(engine, _windows(1)))
    await _until(lambda: engine.passes == [[1]])
    others = [asyncio.create_task(model.embed(engine, _windows(token))) for token in (2, 3)]
    await asyncio.sleep(0.02)
    engine.gate.set()
    results = await asyncio.gather(first, *others)
    assert engine.passes == [[1], [2, 3]]
    assert [stats[0].items for _, stats in results] == [1, 2, 2]
    assert results[1][1][0].queue_ms >= 10
    assert [(one.items, one.tokens) for one in passes] == [(1, 5), (2, 10)]


async def test_a_question_goes_between_two_layers_of_a_bulk_pass(model: ModelThread) -> None:
    engine = Numbers()
    engine.layer_s = 0.02
    bulk = asyncio.create_task(model.embed(engine, _windows(*range(1, 41)), bulk=True))
    await _until(lambda: bool(engine.passes))
    started = time.perf_counter()
    urgent = Numbers()
    await model.embed(urgent, _windows(100))
    assert time.perf_counter() - started < 3 * engine.layer_s
    assert len(engine.passes) <= 2
    assert not bulk.done()
    assert len((await bulk)[0]) == 40


async def test_bulk_comes_to_its_end_however_many_questions_there_are(model: ModelThread) -> None:
    engine = Numbers()
    asked = 0

    async def ask() -> None:
        nonlocal asked
        while not bulk.done():
            await model.embed(engine, _windows(7))
            asked += 1

    bulk = asyncio.create_task(model.embed(engine, _windows(*range(1, 21)), bulk=True))
    await asyncio.wait_for(asyncio.gather(bulk, *(ask() for _ in range(8))), 20)
    assert asked > 8


async def test_what_nobody_waits_for_any_more_is_not_computed(model: ModelThread) -> None:
    engine = Numbers()
    engine.gate.clear()
    first = asyncio.create_task(model.embed(engine, _windows(1)))
    await _until(lambda: engine.passes == [[1]])
    leaving = asyncio.create_task(model.embed(engine, _windows(2)))
    staying = asyncio.create_task(model.embed(engine, _windows(3)))
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.wait([leaving])
    engine.gate.set()
    await asyncio.gather(first, staying)
    assert engine.passes == [[1], [3]]


async def test_an_error_reaches_those_of_its_pass_and_nobody_else(model: ModelThread) -> None:
    engine = Numbers()
    with pytest.raises(ValueError, match="a negative token"):
        await model.embed(engine, _windows(-1, -2, -3, -4, -5, length=BUDGET))
    assert engine.passes == [[-1]]
    assert (await model.embed(engine, _windows(4)))[0].tolist() == [[4, 1]]


async def test_a_text_of_many_windows_is_one_text(model: ModelThread, passes: list[Pass]) -> None:
    vectors, (stats,) = await model.embed(Numbers(), [[[1] * BUDGET, [2] * BUDGET, [3] * BUDGET]])
    assert vectors[:, 0].tolist() == [1, 2, 3]
    assert [one.items for one in passes] == [1, 0, 0]
    assert stats.compute_ms == pytest.approx(sum(one.seconds for one in passes) * 1000, abs=0.1)


async def test_other_work_of_the_model_has_its_turn_on_the_same_thread(model: ModelThread) -> None:
    bulk = asyncio.create_task(model.embed(Numbers(), _windows(*range(1, 9)), bulk=True))
    assert await model.run(lambda: threading.current_thread().name) == "model"
    with pytest.raises(KeyError):
        await model.run(lambda: {}["missing"])
    await bulk


async def test_no_texts_have_no_vectors(model: ModelThread) -> None:
    assert (await model.embed(Numbers(), []))[1] == []


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for happens on another thread
            await asyncio.sleep(0.001)
