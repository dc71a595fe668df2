"""Cures 1, 2, 4, 6 and 7 in a real `bentoml serve` of two services, and the same load on the same services without the cures.

What the uncured server still gets wrong says why a cure is there; a test on it that fails after an upgrade says that the cure may go.
"""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import pytest

from core.errors import all_errors
from tests.servers import Server
from tests.services.toy_server import composed

CLIENTS = 64
CALLS_EACH = 10
# Half of that drops enough calls of the uncured client: one in five.
UNCURED_CALLS_EACH = 5
LONE_CALLS = 15
# More than the dispatcher's warm-up takes (11 batches).
WARM_UP_CALLS = 15
# A lone caller after a burst waits 5 to 10 times as long where the trap is open.
SLOWER_AT_MOST = 3.0
SLOWER_AT_MOST_S = 0.025


@dataclass(frozen=True)
class Answer:
    """What one caller got for its one item."""

    number: int
    status: int
    body: Any

    @property
    def is_own(self) -> bool:
        return self.status == 200 and [result["number"] for result in self.body] == [self.number]

    @property
    def is_internal_error(self) -> bool:
        return self.status == 500 and self.body["error"]["code"] == "internal"


@dataclass(frozen=True)
class Load:
    """A lone caller's median latency before and after a burst, and what the burst got."""

    before_s: float
    after_s: float
    answers: list[Answer]

    @property
    def left_a_hangover(self) -> bool:
        return self.after_s > max(SLOWER_AT_MOST * self.before_s, self.before_s + SLOWER_AT_MOST_S)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """The cured and the uncured server, started side by side."""
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        cured = stack.enter_context(composed(folder / "cured"))
        uncured = stack.enter_context(composed(folder / "uncured", TOY_WITHOUT_CURES="1"))
        cured.wait_for("/livez")
        uncured.wait_for("/livez")
        yield cured, uncured


@pytest.fixture
def cured(servers: tuple[Server, Server]) -> Iterator[Server]:
    yield servers[0]
    print(servers[0].output[-8000:])


@pytest.fixture
def uncured(servers: tuple[Server, Server]) -> Server:
    return servers[1]


@pytest.fixture
async def client(cured: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=cured.url, timeout=30.0) as client:
        yield client


@pytest.fixture(scope="module")
def cured_load(servers: tuple[Server, Server]) -> Load:
    return asyncio.run(_load(servers[0].url, CALLS_EACH))


@pytest.fixture(scope="module")
def uncured_load(servers: tuple[Server, Server]) -> Load:
    return asyncio.run(_load(servers[1].url, UNCURED_CALLS_EACH))


async def _load(url: str, calls_each: int) -> Load:
    # httpx would take more of the two cores than the services do.
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:
        await _lone_latencies_s(session, WARM_UP_CALLS)
        before_s = statistics.median(await _lone_latencies_s(session, LONE_CALLS))
        starts = range(0, CLIENTS * calls_each, calls_each)
        bursts = await asyncio.gather(*(_calls(session, range(start, start + calls_each)) for start in starts))
        after_s = statistics.median(await _lone_latencies_s(session, LONE_CALLS))
    return Load(before_s, after_s, [answer for burst in bursts for answer in burst])


async def _lone_latencies_s(session: aiohttp.ClientSession, calls: int) -> list[float]:
    latencies = []
    for number in range(calls):
        started = time.perf_counter()
        await _call(session, number)
        latencies.append(time.perf_counter() - started)
    return latencies


async def _calls(session: aiohttp.ClientSession, numbers: range) -> list[Answer]:
    return [await _call(session, number) for number in numbers]


async def _call(session: aiohttp.ClientSession, number: int, kind: str = "good") -> Answer:
    async with session.post("/work", json={"items": [{"number": number, "kind": kind}]}) as response:
        return Answer(number, response.status, await response.json())


async def _gathered(url: str, kinds: list[str]) -> list[Answer]:
    """Answers of callers whose items come together into one batch, because one that came before keeps the service busy."""
    async with aiohttp.ClientSession(url) as session:
        for number in range(WARM_UP_CALLS):
            await _call(session, number)
        busy = asyncio.create_task(_call(session, 99, "hold"))
        await _until_sent()
        answers = await asyncio.gather(*(_call(session, number, kind) for number, kind in enumerate(kinds)))
        await busy
    return list(answers)


async def _until_sent() -> None:
    """Long enough for one request to reach a service, short against the time that it is held."""
    await asyncio.sleep(0.1)


async def _eventually(holds: Callable[[], bool]) -> bool:
    for _ in range(100):
        if holds():
            return True
        await asyncio.sleep(0.02)
    return False


# -- 1: the dependency client ----------------------------------------------------------------------------------------------------


def test_no_call_fails_with_64_clients_at_once(cured_load: Load, cured: Server) -> None:
    assert len(cured_load.answers) == CLIENTS * CALLS_EACH
    assert {answer.status for answer in cured_load.answers} == {200}


def test_uncured_calls_in_flight_are_dropped(uncured_load: Load) -> None:
    assert any(answer.status >= 500 for answer in uncured_load.answers)


# -- 2: batching -----------------------------------------------------------------------------------------------------------------


def test_lone_caller_is_as_fast_after_a_burst_as_before(cured_load: Load) -> None:
    assert not cured_load.left_a_hangover, cured_load


def test_uncured_a_lone_caller_waits_for_company_after_a_burst(uncured_load: Load) -> None:
    assert uncured_load.left_a_hangover, uncured_load


def test_batches_form_in_a_burst(cured_load: Load) -> None:
    assert statistics.mean(answer.body[0]["batch_items"] for answer in cured_load.answers) > 2


# -- 4: streams ------------------------------------------------------------------------------------------------------------------


async def test_streamed_events_arrive_one_by_one_and_whole(client: httpx.AsyncClient) -> None:
    lines = (await client.post("/relay", json={"spec": {"count": 50, "text_chars": 3000}})).text.splitlines()
    *numbers, done = [json.loads(line) for line in lines]
    assert [event["number"] for event in numbers] == list(range(50))
    assert {event["text"] for event in numbers} == {"駅弁🍱" * 1000}
    assert done == {"event": "done"}


async def test_uncured_a_stream_is_cut_anywhere(uncured: Server) -> None:
    async with httpx.AsyncClient() as client:
        pieces = (await client.post(f"{uncured.url}/relay_uncured", json={"spec": {"count": 50, "text_chars": 3000}})).json()
    assert not all(piece.endswith("\n") and piece.count("\n") == 1 for piece in pieces)


async def test_error_in_mid_stream_ends_the_stream_as_that_error(client: httpx.AsyncClient) -> None:
    lines = (await client.post("/relay", json={"spec": {"count": 5, "fail_at": 2}}, headers={"x-request-id": "mid-stream"})).text.splitlines()
    *numbers, last = [json.loads(line) for line in lines]
    assert [event["number"] for event in numbers] == [0, 1]
    assert last["event"] == "error"
    assert last["error"] == {"code": "generation_failed", "message": "no event 2", "retryable": False, "request_id": "mid-stream"}


async def test_work_upstream_stops_when_the_reader_goes_away(client: httpx.AsyncClient) -> None:
    async def produced() -> int:
        return int((await client.post("/produced", json={})).text)

    async with client.stream("POST", "/relay", json={"spec": {"count": 10_000, "pause_s": 0.01}}) as response:
        lines = response.aiter_lines()
        assert json.loads(await anext(lines))["number"] == 0
    counts = [-1, await produced()]
    while counts[-1] != counts[-2] and len(counts) < 20:
        await asyncio.sleep(0.1)
        counts.append(await produced())
    assert counts[-1] == counts[-2], "events are still being made"


# -- 6: errors -------------------------------------------------------------------------------------------------------------------


async def test_error_of_a_dependency_reaches_the_client_as_it_was_raised(client: httpx.AsyncClient) -> None:
    for cls in (cls for cls in all_errors() if cls.status):
        info = {"code": cls.code, "message": f"about a {cls.__name__}", "retryable": cls.retryable, "request_id": None}
        response = await client.post("/fail", json={"error": info}, headers={"x-request-id": cls.code})
        assert (response.status_code, response.json()) == (cls.status, {"error": {**info, "request_id": cls.code}})


async def test_dependency_that_is_late_is_a_504(client: httpx.AsyncClient) -> None:
    response = await client.post("/nap", json={"seconds": 5.0, "timeout_s": 0.2})
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")


async def test_refused_body_is_not_in_the_log(client: httpx.AsyncClient, cured: Server) -> None:
    response = await client.post("/work", json={"items": "a very private thing"}, headers={"x-request-id": "refused"})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")
    assert await _eventually(lambda: "request_id=refused" in cured.output)
    assert "private" not in cured.output


async def test_caller_can_not_silence_the_log_with_baggage(client: httpx.AsyncClient, cured: Server) -> None:
    response = await client.post("/produced", json={}, headers={"baggage": "ekiben.request_id=hidden", "x-request-id": "seen"})
    assert response.headers["x-request-id"] == "seen"
    assert await _eventually(lambda: "request_id=seen" in cured.output)
    assert cured.output.count("request_id=seen") == 1


# -- 7: batches ------------------------------------------------------------------------------------------------------------------


def test_every_caller_gets_its_own_result(cured_load: Load) -> None:
    assert all(answer.is_own for answer in cured_load.answers)


async def test_batch_of_the_wrong_length_is_handed_to_nobody(cured: Server) -> None:
    answers = await _gathered(cured.url, ["good"] * 4 + ["short"] + ["good"] * 3)
    assert all(answer.is_own or answer.is_internal_error for answer in answers)
    assert sum(answer.is_internal_error for answer in answers) > 1, "no batch was shared"


async def test_uncured_a_batch_of_the_wrong_length_goes_to_the_wrong_callers(uncured: Server) -> None:
    answers = await _gathered(uncured.url, ["good"] * 4 + ["short"] + ["good"] * 3)
    assert any(answer.status == 200 and not answer.is_own for answer in answers)


async def test_poison_item_fails_alone(cured: Server) -> None:
    answers = await _gathered(cured.url, ["good"] * 4 + ["poison"] + ["good"] * 3)
    assert all(answer.is_own for answer in answers)
    assert max(answer.body[0]["batch_items"] for answer in answers) > 1, "no batch was shared"
    assert [answer.number for answer in answers if answer.body[0]["error"]] == [4]


async def test_no_items_give_no_results(client: httpx.AsyncClient) -> None:
    response = await client.post("/work", json={"items": []})
    assert (response.status_code, response.json()) == (200, [])


# -- 8: pickle -------------------------------------------------------------------------------------------------------------------


async def test_services_of_one_server_speak_pickle_over_their_unix_socket(client: httpx.AsyncClient) -> None:
    assert (await client.post("/wire", json={})).text == "application/vnd.bentoml+pickle"
