"""The HTTP border that all four services share: request ids, limits, one shape of error, one log line a request.

A pure ASGI middleware. BentoML puts it inside its own metrics, tracing and timeout and outside of all routes.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, cast

from opentelemetry import baggage, context
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import DeadlineExceeded, EkibenError, Internal, Overloaded, PayloadTooLarge, UnsupportedMediaType
from core.telemetry import new_request_id, request_id
from services import bentoml_costs, bentoml_metrics  # noqa: F401 - every service comes by here
from services.bentoml_runtime import PICKLE
from services.error_shapes import INTERNAL, JSON, OUR_SHAPE, ErrorShape, error_behind
from services.leaving import CALLER_GONE, serve_while_wanted

log = logging.getLogger("ekiben.request")

PROBES = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
REQUEST_ID_HEADER = "x-request-id"
_BAGGAGE_KEY = "ekiben.request_id"


class Border:
    """See the module. `max_concurrency` and `deadline_s` are None where a service leaves them to its callers.

    `entrance` is True where strangers call: a service behind it takes the request id, and that its log line is written already, from its
    caller's baggage, which a stranger could send as well. `error_shapes` gives paths that begin so errors of another shape than ours.
    On paths that begin as one of `stops_paths` does, the work stops when the caller goes away.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        max_concurrency: int | None = None,
        deadline_s: float | None = None,
        multipart_paths: Sequence[str] = (),
        entrance: bool = False,
        error_shapes: Mapping[str, ErrorShape] = MappingProxyType({}),
        stops_paths: Sequence[str] = (),
    ) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.max_concurrency = max_concurrency
        self.deadline_s = deadline_s
        self.multipart_paths = frozenset(multipart_paths)
        self.entrance = entrance
        self.error_shapes = dict(error_shapes)
        self.stops_paths = tuple(stops_paths)
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; see the module."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        inherited = None if self.entrance else baggage.get_baggage(_BAGGAGE_KEY)
        identifier = new_request_id(str(inherited) if inherited else headers.get(REQUEST_ID_HEADER))
        answer = _Answer(send, identifier, self._shape_of(scope["path"]))
        started = time.perf_counter()
        with under_request_id(identifier):
            try:
                await self._serve(scope, headers, receive, answer)
            finally:
                quiet = inherited is not None or scope["path"] in PROBES
                self._log(scope, answer.status, time.perf_counter() - started, quiet)

    def _shape_of(self, path: str) -> ErrorShape:
        return next((shape for prefix, shape in self.error_shapes.items() if path.startswith(prefix)), OUR_SHAPE)

    async def _serve(self, scope: Scope, headers: Headers, receive: Receive, answer: "_Answer") -> None:
        try:
            if scope["path"] in PROBES:
                await self.app(scope, receive, answer)
            else:
                await self._serve_admitted(scope, headers, receive, answer)
            await answer.finish()
        except EkibenError as error:
            await self._refuse(error, scope, receive, answer)
        except Exception:
            # The outermost edge: BentoML would keep the caller waiting for the whole timeout.
            log.exception("a request failed")
            await self._refuse(Internal(INTERNAL), scope, receive, answer)

    async def _serve_admitted(self, scope: Scope, headers: Headers, receive: Receive, answer: "_Answer") -> None:
        self.in_flight += 1
        try:
            self._admit(scope, headers)
            async with asyncio.timeout(self.deadline_s) as deadline:
                serve = serve_while_wanted if scope["path"].startswith(self.stops_paths) else _serve_to_the_end
                await serve(self.app, scope, self._bounded(receive, answer), answer)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise DeadlineExceeded(f"not done within {self.deadline_s:g} s") from error
        finally:
            self.in_flight -= 1

    def _admit(self, scope: Scope, headers: Headers) -> None:
        if self.max_concurrency is not None and self.in_flight > self.max_concurrency:
            raise Overloaded(f"{self.max_concurrency} requests are in work already; try again in a second")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.max_body_bytes:
            raise _too_large(self.max_body_bytes)
        if scope["method"] in ("POST", "PUT", "PATCH"):
            self._check_content_type(scope, headers.get("content-type", "").split(";")[0].strip().lower())

    def _check_content_type(self, scope: Scope, content_type: str) -> None:
        """Cure 8 of `bentoml_runtime`: pickle is code, and only a parent's Unix socket (no client address) may carry it."""
        if content_type == PICKLE and not _over_tcp(scope):
            return
        allowed = [JSON, "multipart/form-data"] if scope["path"] in self.multipart_paths else [JSON]
        if content_type not in allowed:
            raise UnsupportedMediaType(f"Content-Type is {content_type or 'missing'}; send {' or '.join(allowed)}")

    def _bounded(self, receive: Receive, answer: "_Answer") -> Receive:
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body_bytes:
                # Frameworks catch what is raised here and answer 400 or 500: the answer has to remember the true reason.
                answer.error = _too_large(self.max_body_bytes)
                raise answer.error
            return message

        return bounded

    async def _refuse(self, error: EkibenError, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        if not answer.started:
            answer.discard()
            await answer.shape.response(error)(scope, receive, answer)
            await answer.finish()

    def _log(self, scope: Scope, status: int, elapsed_s: float, quiet: bool) -> None:
        """One INFO line a request, at the service where it came in; calls between services and probes at DEBUG."""
        level = logging.DEBUG if quiet else logging.WARNING if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
        fields = {"method": scope["method"], "path": scope["path"], "status": status, "ms": round(elapsed_s * 1000, 1)}
        log.log(level, "request", extra=fields)


@contextmanager
def under_request_id(identifier: str) -> Iterator[None]:
    """Give what is logged and called inside this request id; services that are called take their request for part of it."""
    token = request_id.set(identifier)
    otel_token = context.attach(baggage.set_baggage(_BAGGAGE_KEY, identifier))
    try:
        yield
    finally:
        context.detach(otel_token)
        request_id.reset(token)


def behind_border(
    service: object,
    max_body_bytes: int,
    max_concurrency: int | None = None,
    deadline_s: float | None = None,
    multipart_paths: Sequence[str] = (),
    entrance: bool = False,
    error_shapes: Mapping[str, ErrorShape] = MappingProxyType({}),
    stops_paths: Sequence[str] = (),
) -> None:
    """Put `service` (what `@bentoml.service` returned) behind a Border."""
    cast("Any", service).add_asgi_middleware(
        Border,
        max_body_bytes=max_body_bytes,
        max_concurrency=max_concurrency,
        deadline_s=deadline_s,
        multipart_paths=multipart_paths,
        entrance=entrance,
        error_shapes=error_shapes,
        stops_paths=stops_paths,
    )


async def _serve_to_the_end(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {limit:,} bytes (gateway.max_body_bytes): send it in parts")


def _over_tcp(scope: Scope) -> bool:
    server = scope.get("server")
    return server is None or server[1] is not None


class _Answer:
    """Passes an answer on; an error that is not in the shape of its route is held back until it is whole, then rewritten."""

    def __init__(self, send: Send, identifier: str, shape: ErrorShape) -> None:
        self._send = send
        self.shape = shape
        self._identifier = identifier
        self._held: Message | None = None
        self._body = bytearray()
        self.status: int = HTTPStatus.INTERNAL_SERVER_ERROR
        self.started = False
        self.error: EkibenError | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID_HEADER] = self._identifier
            if self.status >= HTTPStatus.BAD_REQUEST and self.status != CALLER_GONE:
                self._held = message
                return
        elif self._held is not None:
            self._body += message.get("body", b"")
            return
        self.started = True
        await self._send(message)

    def discard(self) -> None:
        """Forget an answer that was held back."""
        self._held, self._body = None, bytearray()

    async def finish(self) -> None:
        """Send what was held back."""
        if self._held is None:
            return
        start, body = self._held, bytes(self._body)
        if self.error is not None or not self.shape.is_in(body):
            response = self.shape.response(self.error or error_behind(start["status"], body))
            body, start["status"] = bytes(response.body), response.status_code
            self.status = response.status_code
            headers = MutableHeaders(scope=start)
            for stale in ("content-encoding", "transfer-encoding"):
                del headers[stale]
            headers.update(response.headers)
        self.started, self._held = True, None
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})
