"""Callers that go away: what the border stops for them, and what leaves the queue of a batch."""

import asyncio
from collections.abc import Sequence

import pytest
from bentoml._internal.marshal.dispatcher import CorkDispatcher
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from services.border import Border
from services.leaving import CallerLeft, serve_while_wanted
from tests.services.border_client import JSON, ask


class Caller:
    """Sends one request; goes away when told."""

    def __init__(self) -> None:
        self.leaving = asyncio.Event()
        self.sent: list[Message] = []
        self._asked = False

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"{}", "more_body": False}
        await self.leaving.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


class Working:
    """An application that reads its request and works until it is cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


SCOPE = {"type": "http", "method": "POST", "path": "/v1/answer", "headers": [(b"content-type", b"application/json")]}


@pytest.mark.parametrize("stops", [True, False])
async def test_the_border_stops_the_work_on_the_paths_where_it_shall(stops: bool) -> None:
    app, caller = Working(), Caller()
    border = Border(app, 1_000, stops_paths=("/v1/answer",) if stops else ("/v1/other",))
    serving = asyncio.create_task(border(dict(SCOPE), caller.receive, caller.send))
    await app.begun.wait()
    caller.leaving.set()
    done, _ = await asyncio.wait((serving,), timeout=5.0 if stops else 0.05)
    assert (bool(done), app.cancelled, border.in_flight) == (stops, stops, 0 if stops else 1)
    serving.cancel()
    await asyncio.wait((serving,))
    assert serving.cancelled() == (not stops)
    assert [message.get("status") for message in caller.sent] == ([499, None] if stops else [])


async def test_bentomls_timeout_does_not_wait_for_an_answer_that_nobody_reads() -> None:
    app, caller = Working(), Caller()
    outside = TimeoutMiddleware(Border(app, 1_000, stops_paths=("/",)), timeout=60)  # type: ignore[arg-type]
    serving = asyncio.create_task(outside(dict(SCOPE), caller.receive, caller.send))  # type: ignore[arg-type]
    await app.begun.wait()
    caller.leaving.set()
    async with asyncio.timeout(5.0):
        await serving
    assert app.cancelled


async def test_the_deadline_of_the_border_still_holds() -> None:
    async def naps(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await asyncio.Event().wait()

    response = await ask(Border(naps, 1_000, deadline_s=0.05, stops_paths=("/",)), "POST", "/", content=b"{}", headers=JSON)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")


async def test_whoever_cancels_the_serving_cancels_the_work() -> None:
    app, caller = Working(), Caller()
    serving = asyncio.create_task(serve_while_wanted(app, dict(SCOPE), caller.receive, caller.send))
    await app.begun.wait()
    serving.cancel()
    await asyncio.wait((serving,))
    await asyncio.sleep(0)
    assert serving.cancelled()
    assert app.cancelled


async def test_a_caller_that_has_its_answer_stops_nothing() -> None:
    finished = asyncio.Event()
    caller = Caller()

    async def goes_on(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await PlainTextResponse("all")(scope, receive, send)
        caller.leaving.set()
        await asyncio.sleep(0.01)
        finished.set()

    await serve_while_wanted(goes_on, dict(SCOPE), caller.receive, caller.send)
    assert finished.is_set()
    assert caller.sent[-1]["body"] == b"all"


async def test_an_answer_that_listens_itself_hears_it_too() -> None:
    caller = Caller()

    async def streams(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()

        async def endless() -> object:
            yield "first"
            caller.leaving.set()
            await asyncio.Event().wait()

        await StreamingResponse(endless())(scope, receive, send)  # type: ignore[arg-type]

    async with asyncio.timeout(5.0):
        await serve_while_wanted(streams, dict(SCOPE), caller.receive, caller.send)
    assert [message.get("body") for message in caller.sent] == [None, b"first"]


async def test_what_the_application_raises_is_raised() -> None:
    async def buggy(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a bug")

    caller = Caller()
    with pytest.raises(RuntimeError, match="a bug"):
        await serve_while_wanted(buggy, dict(SCOPE), caller.receive, caller.send)


class Batches:
    """A batched function that records its batches, each held until it is let go."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []
        self.running = asyncio.Event()
        self.let_go = asyncio.Event()
        self.call = CorkDispatcher(10_000, 8, fallback=lambda: "too late", get_batch_size=lambda _: 1)(self._work)

    async def _work(self, items: Sequence[str]) -> Sequence[str]:
        self.seen.append(list(items))
        self.running.set()
        await self.let_go.wait()
        return [item.upper() for item in items]


async def test_an_item_whose_caller_left_is_not_computed_and_the_others_are() -> None:
    batches = Batches()
    first = asyncio.create_task(batches.call("first"))
    await batches.running.wait()
    waiting = {name: asyncio.create_task(batches.call(name)) for name in "abcd"}
    await asyncio.sleep(0.01)
    for name in "bd":
        waiting[name].cancel()
    left = await asyncio.gather(waiting["b"], waiting["d"], return_exceptions=True)
    assert [type(error) for error in left] == [CallerLeft, CallerLeft]
    batches.let_go.set()
    async with asyncio.timeout(5.0):
        assert [await first, await waiting["a"], await waiting["c"]] == ["FIRST", "A", "C"]
    assert sorted(item for batch in batches.seen for item in batch) == ["a", "c", "first"]


async def test_one_who_leaves_a_running_batch_takes_nobody_along() -> None:
    batches = Batches()
    first = asyncio.create_task(batches.call("first"))
    await batches.running.wait()
    first.cancel()
    with pytest.raises(CallerLeft):
        await first
    batches.let_go.set()
    async with asyncio.timeout(5.0):
        assert await batches.call("next") == "NEXT"


async def test_a_queue_that_everybody_left_takes_the_next_item() -> None:
    batches = Batches()
    first = asyncio.create_task(batches.call("first"))
    await batches.running.wait()
    left = asyncio.create_task(batches.call("left"))
    await asyncio.sleep(0.01)
    left.cancel()
    await asyncio.wait((left,))
    batches.let_go.set()
    await first
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5.0):
        assert await batches.call("next") == "NEXT"
    assert batches.seen == [["first"], ["next"]]
