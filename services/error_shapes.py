"""The shape that errors have on the wire, and what is made of those that BentoML or Starlette answered in another."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol

from pydantic import ValidationError
from pydantic_core import from_json
from starlette.responses import Response

from core.errors import (
    DeadlineExceeded,
    EkibenError,
    ErrorBody,
    ErrorInfo,
    Internal,
    InvalidRequest,
    MalformedBody,
    MethodNotAllowed,
    NotFound,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    UnsupportedMediaType,
)
from services.bentoml_runtime import error_response

JSON: Final = "application/json"
INTERNAL: Final = "something went wrong; the log has the details under this request id"


class ErrorShape(Protocol):
    """How errors look on some routes."""

    def response(self, error: EkibenError) -> Response:
        """`error` as an answer."""

    def is_in(self, body: bytes) -> bool:
        """Whether the body of an answer has this shape already."""


class _OurShape:
    def response(self, error: EkibenError) -> Response:
        return error_response(error)

    def is_in(self, body: bytes) -> bool:
        try:
            error = ErrorBody.model_validate_json(body, strict=True).error
        except ValidationError:
            return False
        return error.model_fields_set == set(ErrorInfo.model_fields)


OUR_SHAPE: Final[ErrorShape] = _OurShape()


_FOREIGN: dict[int, EkibenError] = {
    400: MalformedBody("the body can't be read: send UTF-8 JSON"),
    404: NotFound("there is no such route; /docs lists them"),
    405: MethodNotAllowed("this route does not take this method; /docs lists them"),
    413: PayloadTooLarge("the body is too large"),
    415: UnsupportedMediaType(f"send {JSON}"),
    429: Overloaded("too many requests in work; try again in a second"),
    503: NotReady("not ready: a part of the system is starting or can't be reached"),
    504: DeadlineExceeded("not done in time"),
}


def error_behind(status: int, body: bytes) -> EkibenError:
    """Our error for an answer that BentoML or Starlette made."""
    faults = _faults_in(body)
    if faults and status == HTTPStatus.BAD_REQUEST:
        return invalid_request(faults)
    if status in _FOREIGN:
        return _FOREIGN[status]
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return InvalidRequest(f"the request can't be served as it is (HTTP {status}); /docs says what is expected")
    return Internal(INTERNAL)


def _faults_in(body: bytes) -> list[dict[str, Any]]:
    """What BentoML says is wrong with a request: pydantic's faults under `detail`."""
    try:
        content = from_json(body)
    except ValueError:
        return []
    detail = content.get("detail") if isinstance(content, dict) else None
    return [fault for fault in detail if isinstance(fault, dict)] if isinstance(detail, list) else []


def invalid_request(faults: Sequence[Mapping[str, Any]]) -> EkibenError:
    """What pydantic found wrong (its `errors()`), in one sentence a fault; at most five of them."""
    if any(fault.get("type") == "json_invalid" for fault in faults):
        return MalformedBody(f"the body is not JSON: {faults[0].get('msg')}")
    lines = [_fault_line(fault) for fault in faults[:5]]
    return InvalidRequest("; ".join(lines))


def _fault_line(fault: Mapping[str, Any]) -> str:
    location = fault.get("loc")
    where = ".".join(str(part) for part in location) if isinstance(location, list | tuple) else ""
    return f"{where}: {fault.get('msg')}" if where else str(fault.get("msg"))
