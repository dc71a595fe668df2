"""The shape of errors on OpenAI's routes, those of the border in front of them included."""

import json

import pytest
from starlette.types import Receive, Scope, Send

from core.errors import EkibenError, Overloaded, all_errors
from services.border import Border
from services.gateway.openai_api.errors import OPENAI_SHAPE, openai_error, openai_status
from services.gateway.openai_api.wire import OpenAIErrorBody
from tests.services.border_client import JSON, answering, ask

PATH = "/v1/chat/completions"


def _bordered(status: int, body: bytes) -> Border:
    return Border(answering(status, body), 1_000, error_shapes={PATH: OPENAI_SHAPE})


@pytest.mark.parametrize("error", [cls for cls in all_errors() if cls.status])
def test_every_error_can_be_told(error: type[EkibenError]) -> None:
    told = openai_error(error("why")).error
    status = openai_status(error)
    assert (told.message, told.code, told.param) == ("why", error.code, None)
    assert (told.type == "server_error") == (status >= 500)
    assert (told.type == "rate_limit_error") == (status == 429)
    assert status == (400 if error.status == 422 and error.code == "invalid_request" else error.status)
    assert OPENAI_SHAPE.is_in(json.dumps({"error": told.model_dump()}).encode())


def test_the_pause_that_is_asked_for_is_told() -> None:
    assert OPENAI_SHAPE.response(Overloaded("busy")).headers["retry-after"] == "1"


async def test_the_border_leaves_such_errors_as_they_are_and_makes_its_own_so() -> None:
    own = openai_error(Overloaded("busy")).model_dump_json().encode()
    assert (await ask(_bordered(429, own), "GET", PATH)).content == own
    for border, status, code in (
        (_bordered(404, b"Not Found"), 404, "not_found"),
        (_bordered(405, b""), 405, "method_not_allowed"),
        (_bordered(200, b""), 415, "unsupported_media_type"),
    ):
        response = await ask(border, "POST" if status == 415 else "GET", PATH, content=b"x")
        assert response.status_code == status
        assert OpenAIErrorBody.model_validate_json(response.content, strict=True).error.code == code


async def test_too_large_a_body_and_a_bug_are_told_so_as_well() -> None:
    async def buggy(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a bug")

    large = await ask(_bordered(200, b""), "POST", PATH, content=b"x" * 1_001, headers=JSON)
    broken = await ask(Border(buggy, 1_000, error_shapes={PATH: OPENAI_SHAPE}), "GET", PATH)
    assert (large.status_code, large.json()["error"]["code"]) == (413, "payload_too_large")
    assert (broken.status_code, broken.json()["error"]["type"]) == (500, "server_error")


async def test_other_routes_keep_our_shape() -> None:
    response = await ask(_bordered(404, b"Not Found"), "GET", "/v1/answers/x")
    assert set(response.json()["error"]) == {"code", "message", "retryable", "request_id"}
