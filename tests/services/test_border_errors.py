"""Whatever an application answers or raises leaves the border in one shape of error."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import DocumentNotFound, EkibenError, ErrorInfo, all_errors
from services.bentoml_runtime import PICKLE, error_response
from services.error_shapes import invalid_request
from services.leaving import CALLER_GONE
from tests.services.border_client import LIMIT, answering, ask, bordered, code_and_status, echo, error_in, exchange


async def _raise_404(request: Request) -> Response:
    raise HTTPException(404, "no such thing")


ROUTES = Starlette(routes=[Route("/raises", _raise_404), Route("/get", _raise_404, methods=["GET"])])


async def test_plain_text_404_is_rewritten() -> None:
    assert await code_and_status(bordered(ROUTES), "GET", "/nowhere") == ("not_found", 404)
    assert await code_and_status(bordered(ROUTES), "GET", "/raises") == ("not_found", 404)


async def test_405_is_rewritten_and_keeps_its_allow_header() -> None:
    response = await ask(bordered(ROUTES), "DELETE", "/get")
    assert (error_in(response).code, response.status_code) == ("method_not_allowed", 405)
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_validation_error_of_bentoml_names_the_fields() -> None:
    fault = {"type": "missing", "loc": ["request", "question"], "msg": "Field required"}
    body = {"error": "1 validation error for Input", "detail": [fault, {**fault, "loc": ["request", "top_k"]}]}
    response = await ask(bordered(JSONResponse(body, 400)))
    assert response.status_code == 422
    assert error_in(response).message == "request.question: Field required; request.top_k: Field required"


async def test_body_that_is_no_json_is_malformed() -> None:
    body = {"error": "...", "detail": [{"type": "json_invalid", "loc": [], "msg": "Invalid JSON: EOF while parsing"}]}
    assert await code_and_status(bordered(JSONResponse(body, 400))) == ("malformed_body", 400)


@pytest.mark.parametrize("cls", [cls for cls in all_errors() if cls.status], ids=lambda cls: cls.code)
async def test_error_in_our_shape_is_left_alone(cls: type[EkibenError]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await error_response(cls("why"))(scope, receive, send)

    response = await ask(bordered(app))
    error = error_in(response)
    assert (response.status_code, error.code, error.message, error.retryable) == (cls.status, cls.code, "why", cls.retryable)


async def test_error_of_ours_that_an_application_raises_is_answered() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise DocumentNotFound("no document 'a'")

    assert await code_and_status(bordered(app)) == ("document_not_found", 404)


@pytest.mark.parametrize(
    ("status", "code", "becomes"),
    [
        (400, "malformed_body", 400),
        (413, "payload_too_large", 413),
        (415, "unsupported_media_type", 415),
        (416, "invalid_request", 422),
        (429, "overloaded", 429),
        (500, "internal", 500),
        (502, "internal", 500),
        (503, "not_ready", 503),
        (504, "deadline_exceeded", 504),
    ],
)
async def test_foreign_error_becomes_ours_by_its_status(status: int, code: str, becomes: int) -> None:
    response = await ask(bordered(answering(status, b"foreign words")))
    assert (error_in(response).code, response.status_code) == (code, becomes)
    assert ("retry-after" in response.headers) == (becomes in (429, 503))


async def test_compressed_foreign_error_is_rewritten_as_plain_json() -> None:
    response = await ask(bordered(answering(500, gzip.compress(b"foreign"), **{"content-encoding": "gzip"})))
    assert error_in(response).code == "internal"


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": ["code", "message", "retryable", "request_id"]}',
        b'{"error": {"code": "internal", "message": "half of our shape"}}',
        b'{"error": {"code": 1, "message": "m", "retryable": false, "request_id": null}}',
        b'{"error": "e", "detail": ["no faults", 3]}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
    ids=["list", "half", "wrong type", "strange detail", "deep", "no text"],
)
async def test_body_that_only_looks_like_an_error_of_ours_is_rewritten(body: bytes) -> None:
    assert await code_and_status(bordered(answering(500, body))) == ("internal", 500)


async def test_success_is_not_looked_at() -> None:
    response = await ask(bordered(answering(200, b'{"error": "just a field"}')))
    assert (response.status_code, response.json()) == (200, {"error": "just a field"})


@pytest.mark.parametrize("path", ["/", "/readyz"])
@pytest.mark.parametrize("deadline_s", [None, 5.0])
@pytest.mark.parametrize("trouble", [RuntimeError("secret"), TimeoutError("secret"), KeyError("secret")], ids=lambda error: type(error).__name__)
async def test_application_that_raises_is_a_500_without_its_words(path: str, deadline_s: float | None, trouble: Exception) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise trouble

    response = await ask(bordered(app, deadline_s=deadline_s), "GET", path)
    assert (error_in(response).code, response.status_code) == ("internal", 500)
    assert "secret" not in response.text


async def test_application_that_raises_within_an_error_answer_is_a_500() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        raise RuntimeError("broken")

    assert await code_and_status(bordered(app)) == ("internal", 500)


# -- properties ------------------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
almost_errors = st.fixed_dictionaries(
    {},
    optional={
        "error": json_values | st.fixed_dictionaries({}, optional=dict.fromkeys(ErrorInfo.model_fields, json_values)),
        "detail": json_values | st.lists(st.fixed_dictionaries({}, optional={"loc": json_values, "msg": json_values, "type": json_values})),
    },
)
bodies = st.binary(max_size=50) | (json_values | almost_errors).map(lambda value: json.dumps(value).encode())
header_texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
answer_headers = st.dictionaries(
    st.sampled_from(["content-type", "content-length", "content-encoding", "x-request-id", "retry-after", "x-other"]), header_texts
)
request_headers = st.dictionaries(st.sampled_from(["x-request-id", "content-length", "baggage", "accept"]), header_texts) | st.sampled_from(
    [{"content-type": kind} for kind in ("application/json", PICKLE, "multipart/form-data", "text/plain", "")]
)


def _sending(status: int, headers: dict[str, str], body: bytes) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body[:5], "more_body": True})
        await send({"type": "http.response.body", "body": body[5:]})

    return app


def _raising(error: Exception) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    return app


applications = st.builds(_sending, st.integers(200, 599), answer_headers, bodies) | st.sampled_from(
    [echo, ROUTES, _raising(ValueError("x")), _raising(TimeoutError()), _raising(DocumentNotFound("x")), _raising(HTTPException(418))]
)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@settings(max_examples=200, deadline=None)
@given(
    app=applications,
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
    path=st.sampled_from(["/", "/livez", "/readyz", "/upload", "/get", "/raises"]),
    headers=request_headers,
    body=st.binary(max_size=LIMIT + 200),
    limit=st.sampled_from([None, 0, 1]),
)
def test_whatever_happens_an_error_has_our_shape(
    runner: asyncio.Runner, app: ASGIApp, method: str, path: str, headers: dict[str, str], body: bytes, limit: int | None
) -> None:
    status, answered, content = runner.run(exchange(bordered(app, max_concurrency=limit), method, path, headers, body))
    if status >= 400 and status != CALLER_GONE:  # which nobody reads
        error_in(httpx.Response(status, headers=answered, content=content))


@settings(max_examples=50, deadline=None)
@given(faults=st.lists(st.fixed_dictionaries({}, optional={"loc": json_values, "msg": json_values, "type": json_values}), min_size=1))
def test_faults_of_any_shape_become_a_request_error(faults: list[dict[str, Any]]) -> None:
    assert invalid_request(faults).status in (400, 422)
