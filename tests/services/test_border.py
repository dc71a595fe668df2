"""Request ids, limits and streams of the border, as a middleware around tiny applications."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from opentelemetry import baggage
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from core.telemetry import request_id
from services.bentoml_runtime import PICKLE
from services.border import Border, behind_border
from tests.services.border_client import JSON, LIMIT, ask, bordered, code_and_status, echo, error_in, exchange

# -- request ids -----------------------------------------------------------------------------------------------------------------


async def answer_request_id(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(request_id.get())(scope, receive, send)


async def test_request_id_of_the_caller_is_used_and_echoed() -> None:
    response = await ask(bordered(answer_request_id), headers={"x-request-id": "mine-1.2_3"})
    assert (response.text, response.headers["x-request-id"]) == ("mine-1.2_3", "mine-1.2_3")


@pytest.mark.parametrize("proposed", ["", "two words", "a" * 129, "<script>", "é".encode().decode("latin-1")])
async def test_request_id_that_is_no_harmless_token_is_replaced(proposed: str) -> None:
    response = await ask(bordered(answer_request_id), headers={"x-request-id": proposed.encode("latin-1")})
    assert response.text == response.headers["x-request-id"] != proposed
    assert len(response.text) == 32


async def test_each_request_without_an_id_gets_its_own() -> None:
    border = bordered(answer_request_id)
    assert (await ask(border)).text != (await ask(border)).text


async def test_request_id_is_gone_after_the_request() -> None:
    await ask(bordered(answer_request_id))
    assert request_id.get() == ""


async def test_service_behind_the_entrance_takes_the_request_id_of_its_caller(baggage_of_a_caller: str) -> None:
    response = await ask(bordered(answer_request_id, entrance=False), headers={"x-request-id": "another"})
    assert response.text == baggage_of_a_caller


async def test_entrance_takes_no_request_id_from_baggage(baggage_of_a_caller: str) -> None:
    response = await ask(bordered(answer_request_id), headers={"x-request-id": "from-the-header"})
    assert response.text == "from-the-header" != baggage_of_a_caller


async def test_request_id_goes_on_to_dependencies_as_baggage() -> None:
    async def answer_baggage(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(str(baggage.get_baggage("ekiben.request_id")))(scope, receive, send)

    assert (await ask(bordered(answer_baggage), headers={"x-request-id": "mine"})).text == "mine"
    assert baggage.get_baggage("ekiben.request_id") is None


# -- limits ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "text/plain"}, {"content-type": PICKLE}, {"content-type": "multipart/form-data; boundary=b"}]
)
async def test_body_of_another_type_than_json_is_refused(method: str, headers: dict[str, str]) -> None:
    response = await ask(bordered(echo), method, "/", content=b"{}", headers=headers)
    assert (error_in(response).code, response.status_code) == ("unsupported_media_type", 415)
    assert headers.get("content-type", "missing").split(";")[0] in error_in(response).message


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8"])
async def test_json_is_taken(media_type: str) -> None:
    assert (await ask(bordered(echo), "POST", "/", content=b"{}", headers={"content-type": media_type})).content == b"{}"


async def test_forms_are_taken_where_they_are_expected() -> None:
    assert (await ask(bordered(echo), "POST", "/upload", files={"file": b"text"})).status_code == 200
    assert await code_and_status(bordered(echo), "POST", "/upload", content=b"x", headers={"content-type": "text/plain"}) == (
        "unsupported_media_type",
        415,
    )


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
async def test_request_without_a_body_needs_no_content_type(method: str) -> None:
    assert (await ask(bordered(echo), method)).status_code == 200


@pytest.mark.parametrize(("server", "status"), [(("/run/service.sock", None), 200), (("10.0.0.1", 3000), 415), (None, 415)])
async def test_pickle_is_taken_from_a_unix_socket_only(server: tuple[str, int | None] | None, status: int) -> None:
    border = bordered(echo, entrance=False)

    async def over(scope: Scope, receive: Receive, send: Send) -> None:
        await border({**scope, "server": server}, receive, send)

    assert (await ask(over, "POST", "/", content=b"", headers={"content-type": PICKLE})).status_code == status


async def in_chunks(total: int) -> AsyncIterator[bytes]:
    for _ in range(total // 100):
        yield b"x" * 100


async def test_body_that_says_it_is_too_large_is_refused_unread() -> None:
    async def refuses_to_read(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the application was asked")

    border = bordered(refuses_to_read)
    assert await code_and_status(border, "POST", "/", content=b"x" * (LIMIT + 1), headers=JSON) == ("payload_too_large", 413)


async def test_body_that_turns_out_too_large_is_refused_whatever_the_framework_makes_of_it() -> None:
    async def like_bentoml(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await Request(scope, receive).body()
        except Exception:
            await JSONResponse({"error": "An unexpected error has occurred"}, 500)(scope, receive, send)

    for app in (echo, like_bentoml):
        response = await ask(bordered(app), "POST", "/", content=in_chunks(LIMIT + 100), headers=JSON)
        assert (error_in(response).code, response.status_code) == ("payload_too_large", 413)
        assert "1,000 bytes" in error_in(response).message


async def test_body_at_the_limit_is_taken() -> None:
    for content in (b"x" * LIMIT, in_chunks(LIMIT)):
        assert len((await ask(bordered(echo), "POST", "/", content=content, headers=JSON)).content) == LIMIT


class Gate:
    """An application whose requests stay in work until it is opened."""

    def __init__(self) -> None:
        self.entered = asyncio.Semaphore(0)
        self.opened = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered.release()
        await self.opened.wait()
        await PlainTextResponse("done")(scope, receive, send)


async def test_requests_over_the_limit_are_refused_until_others_are_done() -> None:
    gate = Gate()
    border = bordered(gate, max_concurrency=2)
    admitted = [asyncio.create_task(ask(border)) for _ in range(2)]
    for _ in admitted:
        await gate.entered.acquire()
    refused = [await ask(border) for _ in range(3)]
    assert {(error_in(response).code, response.status_code, response.headers["retry-after"]) for response in refused} == {("overloaded", 429, "1")}
    gate.opened.set()
    assert [(await task).status_code for task in admitted] == [200, 200]
    assert (await ask(border)).status_code == 200
    assert border.in_flight == 0


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/metrics"])
async def test_probes_are_answered_under_overload(path: str) -> None:
    gate = Gate()
    border = bordered(gate, max_concurrency=0)
    gate.opened.set()
    assert (await ask(border)).status_code == 429
    assert (await ask(border, "GET", path)).status_code == 200


async def test_request_that_fails_or_is_given_up_leaves_its_place() -> None:
    async def raises(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    failing, waiting = bordered(raises, max_concurrency=1), bordered(Gate(), max_concurrency=1)
    task = asyncio.create_task(ask(waiting))
    await waiting.app.entered.acquire()  # type: ignore[attr-defined]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ask(failing)
    assert (failing.in_flight, waiting.in_flight) == (0, 0)


async def test_request_that_takes_too_long_is_a_504() -> None:
    response = await ask(bordered(Gate(), deadline_s=0.02))
    assert (error_in(response).code, response.status_code) == ("deadline_exceeded", 504)
    assert error_in(response).message == "not done within 0.02 s"


# -- streams and other scopes ----------------------------------------------------------------------------------------------------


async def test_stream_is_passed_on_piece_by_piece() -> None:
    sent: asyncio.Queue[Message] = asyncio.Queue()
    seen = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await seen.wait()
        await send({"type": "http.response.body", "body": b"second"})

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    serving = asyncio.create_task(bordered(app)(scope, receive, sent.put))
    async with asyncio.timeout(5.0):
        assert (await sent.get())["status"] == 200
        assert (await sent.get())["body"] == b"first"
        seen.set()
        assert (await sent.get())["body"] == b"second"
        await serving


async def test_stream_that_fails_is_broken_off_not_continued_with_an_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        raise RuntimeError("broken")

    status, _, content = await exchange(bordered(app), "GET", "/", {}, b"")
    assert (status, content) == (200, b"first")


async def test_lifespan_passes_through() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await bordered(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


def test_service_is_put_behind_a_border() -> None:
    class Service:
        def add_asgi_middleware(self, middleware: Callable[..., Border], **options: Any) -> None:
            self.border = middleware(echo, **options)

    service = Service()
    behind_border(service, 10, max_concurrency=2, deadline_s=3.0, multipart_paths=("/upload",), entrance=True)
    border = service.border
    assert (border.max_body_bytes, border.max_concurrency, border.deadline_s, border.entrance) == (10, 2, 3.0, True)
    assert border.multipart_paths == {"/upload"}
