"""Errors in OpenAI's shape."""

from http import HTTPStatus
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.responses import JSONResponse, Response

from core.errors import EkibenError, InvalidRequest, ModelNotFound
from services.bentoml_runtime import error_response
from services.error_shapes import ErrorShape, invalid_request
from services.gateway.openai_api.wire import MODEL, OpenAIError, OpenAIErrorBody

Asked = TypeVar("Asked", bound=BaseModel)


class InvalidParameter(InvalidRequest):
    """A parameter that is wrong or can't be done, by its name."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


class _OpenAIShape:
    """What is wrong with a request is 400 there, and 422 with us."""

    def response(self, error: EkibenError) -> Response:
        ours = error_response(error)
        status = openai_status(type(error))
        retry = ours.headers.get("retry-after")
        return JSONResponse(openai_error(error).model_dump(), status, {"Retry-After": retry} if retry else None)

    def is_in(self, body: bytes) -> bool:
        try:
            error = OpenAIErrorBody.model_validate_json(body, strict=True).error
        except ValidationError:
            return False
        return error.model_fields_set == set(OpenAIError.model_fields)


OPENAI_SHAPE: Final[ErrorShape] = _OpenAIShape()


def openai_status(error: type[EkibenError]) -> int:
    """The HTTP status of an error on these routes."""
    return HTTPStatus.BAD_REQUEST if issubclass(error, InvalidRequest) else error.status or HTTPStatus.INTERNAL_SERVER_ERROR


def openai_error(error: EkibenError) -> OpenAIErrorBody:
    """`error` as OpenAI's clients know them."""
    status = openai_status(type(error))
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        kind = "rate_limit_error"
    else:
        kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    param = error.param if isinstance(error, InvalidParameter) else None
    return OpenAIErrorBody.model_validate({"error": {"message": error.message, "type": kind, "param": param, "code": error.code}})


def parse_asked(model: type[Asked], content: object) -> Asked:
    """`content` as `model`; raises InvalidParameter for the first thing that is wrong, which names them all."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        raise InvalidParameter(str(faults[0]["loc"][0]) if faults[0]["loc"] else "", invalid_request(faults).message) from error


def require_model(name: str) -> None:
    """Raises ModelNotFound for another model than ours."""
    if name != MODEL:
        raise ModelNotFound(f"there is no model {name[:100]!r} here; the model is {MODEL!r}")
