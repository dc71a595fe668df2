"""The version guard, readiness and batches. The other test_bentoml_runtime files test calls, streams, and all cures between real services."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from bentoml._internal.marshal import dispatcher
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DocumentNotFound, Internal
from services.bentoml_runtime import CHECKED_VERSION, answers_errors, cap_batch_wait, checked_batch, is_ready

# -- the guard -------------------------------------------------------------------------------------------------------------------


def test_another_version_of_bentoml_is_refused_at_import() -> None:
    code = "import bentoml; bentoml.__version__ = '1.4.40'; import services.bentoml_runtime"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("core.errors.UnsupportedBentoML")
    assert "1.4.40" in last
    assert CHECKED_VERSION in last


# -- 2: batching -----------------------------------------------------------------------------------------------------------------

waits = st.floats(0, 1e6)


@settings(deadline=None)
@given(cap_s=waits, learned_s=waits)
def test_learned_wait_is_bounded_by_the_cap(cap_s: float, learned_s: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatcher.Optimizer, "wait", None, raising=False)
        cap_batch_wait(cap_s)
        optimizer: Any = dispatcher.Optimizer(max_latency=1.0)
        assert optimizer.wait == 0
        optimizer.wait = learned_s
        assert optimizer.wait == min(cap_s, learned_s)


# -- 3: readiness ----------------------------------------------------------------------------------------------------------------


def _dependency(is_ready: Callable[[], Awaitable[bool]]) -> object:
    return SimpleNamespace(to_async=SimpleNamespace(is_ready=is_ready))


@pytest.mark.parametrize("answer", [True, False])
async def test_dependency_is_as_ready_as_it_says(answer: bool) -> None:
    async def says() -> bool:
        return answer

    assert await is_ready(_dependency(says), 1.0) is answer


@pytest.mark.parametrize("trouble", [aiohttp.ClientConnectionError(), aiohttp.ServerTimeoutError(), ConnectionResetError(), TimeoutError()])
async def test_dependency_that_can_not_be_reached_is_not_ready(trouble: Exception) -> None:
    async def fails() -> bool:
        raise trouble

    assert await is_ready(_dependency(fails), 1.0) is False


async def test_dependency_that_never_answers_is_not_ready() -> None:
    async def hangs() -> bool:
        await asyncio.Event().wait()
        return True

    async with asyncio.timeout(5.0):
        assert await is_ready(_dependency(hangs), 0.01) is False


async def test_dependency_in_the_same_process_is_ready() -> None:
    assert await is_ready(object(), 1.0) is True


# -- 6: errors -------------------------------------------------------------------------------------------------------------------


async def test_method_answers_its_errors_in_our_shape() -> None:
    class Service:
        @answers_errors
        async def find(self) -> str:
            raise DocumentNotFound("no document 'a'")

    response: Any = await Service().find()
    assert response.status_code == 404
    assert json.loads(response.body)["error"]["code"] == "document_not_found"


# -- 7: batches ------------------------------------------------------------------------------------------------------------------


class Batches:
    """A batchable method that gives `extra` results too many."""

    def __init__(self, extra: int) -> None:
        self.extra = extra

    @checked_batch
    async def double(self, items: list[int]) -> list[int]:
        return [2 * item for item in [*items, *range(self.extra)]][: max(0, len(items) + self.extra)]


@settings(max_examples=50, deadline=None)
@given(items=st.lists(st.integers()), extra=st.integers(-3, 3))
def test_batch_is_whole_or_an_error(items: list[int], extra: int) -> None:
    result = asyncio.run(_result_of(Batches(extra).double(items)))
    if not items:
        assert result == []
    elif extra == 0:
        assert result == [2 * item for item in items]
    else:
        assert isinstance(result, Internal)
        assert f"{max(0, len(items) + extra)} results for {len(items)} items" in result.message


async def _result_of(batch: Awaitable[list[int]]) -> list[int] | Internal:
    try:
        return await batch
    except Internal as error:
        return error
