"""A border around tiny applications, and how tests talk to it."""

from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import ErrorBody, ErrorInfo
from services.border import Border

LIMIT = 1_000
JSON = {"content-type": "application/json"}


def answering(status: int, body: bytes = b"", **headers: str) -> ASGIApp:
    return Response(body, status, headers)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body, after all of it was read."""
    body = await Request(scope, receive).body()
    await Response(body)(scope, receive, send)


def bordered(app: ASGIApp, max_concurrency: int | None = None, deadline_s: float | None = None, entrance: bool = True) -> Border:
    return Border(app, LIMIT, max_concurrency, deadline_s, multipart_paths=("/upload",), entrance=entrance)


def client_of(border: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(border), base_url="http://border:3000")


async def ask(border: ASGIApp, method: str = "GET", path: str = "/", **options: Any) -> httpx.Response:
    async with client_of(border) as client:
        return await client.request(method, path, **options)


def error_in(response: httpx.Response) -> ErrorInfo:
    """The error in our shape, all of its fields present."""
    assert response.headers["content-type"] == "application/json"
    error = ErrorBody.model_validate_json(response.content, strict=True).error
    assert set(response.json()["error"]) == set(ErrorInfo.model_fields)
    assert error.request_id == response.headers["x-request-id"]
    return error


async def code_and_status(border: ASGIApp, method: str = "GET", path: str = "/", **options: Any) -> tuple[str, int]:
    response = await ask(border, method, path, **options)
    return error_in(response).code, response.status_code


async def exchange(border: Border, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body, as they were sent; httpx would look into them."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await border({"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw}, receive, send)
    assert [message["type"] for message in sent].count("http.response.start") == 1
    return sent[0]["status"], sent[0]["headers"], b"".join(message.get("body", b"") for message in sent[1:])
