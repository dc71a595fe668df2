"""The ninth cure in a real server of the toy service, and the trap in the same server without it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import aiohttp
import pytest

from tests.servers import Server
from tests.services.toy_server import alone

CONCURRENT = 3
# As in toys.py, which is made to be served.
HOLD_SECONDS = 0.4
MAX_BATCH_ITEMS = 8
# More than the dispatcher's warm-up takes (11 batches).
WARM_UP_CALLS = 15


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """With the cure and without it, started side by side."""
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        cured = stack.enter_context(alone("Callee", folder / "cured", TOY_CONCURRENT_BATCHES=str(CONCURRENT)))
        uncured = stack.enter_context(alone("Callee", folder / "uncured"))
        cured.wait_for("/livez")
        uncured.wait_for("/livez")
        yield cured, uncured


async def _call(session: aiohttp.ClientSession, number: int, kind: str = "good", items: int = 1) -> tuple[float, list[dict[str, Any]]]:
    """Seconds that the call took, and its results."""
    started = time.perf_counter()
    async with session.post("/work", json={"items": [{"number": number, "kind": kind}] * items}) as response:
        assert response.status == 200
        return time.perf_counter() - started, await response.json()


async def _beside_busy_batches(server: Server, busy: int) -> tuple[float, list[dict[str, Any]]]:
    """A call that comes while `busy` batches are held; each of these is full."""
    async with aiohttp.ClientSession(server.url) as session:
        for number in range(WARM_UP_CALLS):
            await _call(session, number)
        held = []
        for number in range(busy):
            held.append(asyncio.create_task(_call(session, 100 + number, "hold", MAX_BATCH_ITEMS)))
            # Long enough for a request to reach the service, short against the time that it is held.
            await asyncio.sleep(HOLD_SECONDS / 8)
        answer = await _call(session, 7)
        for number, (_, results) in enumerate(await asyncio.gather(*held)):
            assert [result["number"] for result in results] == [100 + number] * MAX_BATCH_ITEMS
        return answer


async def test_a_batch_is_let_in_while_others_run(servers: tuple[Server, Server]) -> None:
    seconds, results = await _beside_busy_batches(servers[0], CONCURRENT - 1)
    assert [result["number"] for result in results] == [7]
    assert seconds < HOLD_SECONDS / 4


async def test_no_more_batches_run_at_once_than_allowed(servers: tuple[Server, Server]) -> None:
    seconds, _ = await _beside_busy_batches(servers[0], CONCURRENT)
    assert seconds > HOLD_SECONDS / 4


async def test_uncured_a_batch_waits_for_the_one_before(servers: tuple[Server, Server]) -> None:
    seconds, _ = await _beside_busy_batches(servers[1], 1)
    assert seconds > HOLD_SECONDS / 2
