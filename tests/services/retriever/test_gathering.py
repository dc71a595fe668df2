import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.retriever.gathering import Gathering

WAIT_S = 10


def test_calls_that_come_during_a_run_are_run_together_in_the_order_they_came() -> None:
    runs: list[list[int]] = []
    first_runs, may_end = threading.Event(), threading.Event()

    def run(items: Sequence[int]) -> list[int]:
        runs.append(list(items))
        first_runs.set()
        assert may_end.wait(WAIT_S)
        return [-item for item in items]

    gathering = Gathering(run, most=3, at_once=1)
    with ThreadPoolExecutor(6) as pool:
        results = [pool.submit(gathering, 0)]
        assert first_runs.wait(WAIT_S)
        for item in range(1, 6):
            results.append(pool.submit(gathering, item))
            while len(gathering._waiting) < item:
                pass
        may_end.set()
        assert [result.result(WAIT_S) for result in results] == [0, -1, -2, -3, -4, -5]
    assert runs == [[0], [1, 2, 3], [4, 5]]


def test_as_many_runs_as_allowed_go_side_by_side() -> None:
    both_inside = threading.Barrier(2)

    def run(items: Sequence[str]) -> Sequence[str]:
        both_inside.wait(WAIT_S)
        return items

    gathering = Gathering(run, most=8, at_once=2)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(gathering, ["a", "b"])) == ["a", "b"]


def test_whose_call_is_being_run_by_another_waits_for_it_though_a_run_is_free() -> None:
    may_end = {item: threading.Event() for item in (0, 1, 2)}
    begun: list[list[int]] = []

    def run(items: Sequence[int]) -> list[int]:
        begun.append(list(items))
        assert may_end[items[0]].wait(WAIT_S)
        return [-item for item in items]

    gathering = Gathering(run, most=8, at_once=2)
    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(gathering, 0)]
        _until(lambda: begun == [[0]])
        results.append(pool.submit(gathering, 1))
        _until(lambda: begun == [[0], [1]])
        for item in (2, 3):
            results.append(pool.submit(gathering, item))
            _until(lambda item=item: len(gathering._waiting) == item - 1)
        may_end[0].set()
        _until(lambda: begun == [[0], [1], [2, 3]])
        may_end[1].set()
        assert [result.result(WAIT_S) for result in results[:2]] == [0, -1]
        may_end[2].set()
        assert [result.result(WAIT_S) for result in results[2:]] == [-2, -3]


def test_an_error_reaches_all_calls_of_the_run_and_none_after_it() -> None:
    def run(items: Sequence[int]) -> list[float]:
        return [1 / item for item in items]

    gathering = Gathering(run, most=8, at_once=1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            gathering(0)
    assert gathering(4) == 0.25


def test_a_run_that_gives_too_few_results_is_an_error() -> None:
    gathering = Gathering(lambda items: [], most=8, at_once=1)
    with pytest.raises(ValueError, match="shorter"):
        gathering(1)
    with pytest.raises(ValueError, match="shorter"):
        gathering(1)


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)
