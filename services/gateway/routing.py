"""What all routes share: bodies and parameters read into wire types, wire types and errors written as answers."""

import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.errors import EkibenError, MalformedBody
from services.error_shapes import OUR_SHAPE, ErrorShape, invalid_request

Model = TypeVar("Model", bound=BaseModel)
Handler = Callable[[Request], Awaitable[Response]]


def route(method: str, path: str, handler: Handler, shape: ErrorShape = OUR_SHAPE) -> Route:
    """A route whose handler may raise errors of ours, which it answers in `shape`."""

    async def answering(request: Request) -> Response:
        try:
            return await handler(request)
        except EkibenError as error:
            return shape.response(error)

    return Route(path, answering, methods=[method])


def parse(model: type[Model], content: object) -> Model:
    """`content` as `model`; raises InvalidRequest, which names what is wrong."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise invalid_request(error.errors(include_input=False, include_url=False, include_context=False)) from error


async def read_json(request: Request) -> object:
    """The body; raises MalformedBody."""
    return parse_json("the body", await request.body())


def parse_json(what: str, text: str | bytes) -> object:
    """`text` as JSON; raises MalformedBody, in which it is called `what`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"{what} is not JSON: {error}") from error


def json_response(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`model` as the answer."""
    return Response(model.model_dump_json(), status, headers, media_type="application/json")
