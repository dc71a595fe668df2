"""BentoML's traps under load, cured in one place. Every service and every call between services goes through here.

| # | trap | cure |
|---|---|---|
| 1 | the dependency client closes its session on calls in flight, every 100 requests or 300 s | `service_config` raises both bounds out of reach |
| 2 | after a burst a lone caller waits for a batch that nobody joins | `cap_batch_wait` bounds the dispatcher's learned wait |
| 3 | `/readyz` hangs for the request timeout, then answers 500, when a dependency is down | probe off; `is_ready` asks with a deadline |
| 4 | a stream through a dependency is re-cut, loses its error and outlives its reader | `stream_events`: NDJSON off the proxy's session |
| 5 | idle sockets are dropped at different times on both sides, calls fall in between | the client lets go first; `call` tries once more |
| 6 | transport errors are no BentoML errors and end as 500 | `call` translates them, once |
| 7 | a batch answer of the wrong length goes to other callers; one bad item fails all | `checked_batch` |
| 8 | a service that is not the entry unpickles what reaches its TCP port | `services.border` refuses pickle that came over TCP |
| 9 | a batchable API runs one batch at a time, so nothing joins a running one | `services.bentoml_batches` lets several run |
| 10 | each answer makes a JSON schema and spans that nobody reads | `services.bentoml_costs` |
| 11 | metrics are labelled with the path as sent: a series for each document | `services.bentoml_metrics` labels the route |

All of it was checked against one version of BentoML by reading its source and by tests/services/test_bentoml_runtime*.py; the guard below makes
an upgrade fail loudly instead of quietly bringing a trap back.
"""

import asyncio
import contextlib
import functools
import json
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import aiohttp
import bentoml
from _bentoml_impl.client import proxy2
from bentoml._internal.marshal import dispatcher
from bentoml.exceptions import BentoMLException
from opentelemetry import propagate
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from core.errors import DeadlineExceeded, DependencyUnavailable, EkibenError, ErrorBody, Internal, UnsupportedBentoML, error_from
from core.telemetry import request_id

CHECKED_VERSION = "1.4.39"
PICKLE = "application/vnd.bentoml+pickle"

# uvicorn's default, which BentoML gives to every child process, is 5 s; the side that sends must let go of an idle socket first.
CLIENT_KEEP_ALIVE_S = 3.0
CONNECT_TIMEOUT_S = 2.0
# A stream's next event may take this long; its whole length is not bounded.
STREAM_READ_TIMEOUT_S = 30.0

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger("ekiben.runtime")

if bentoml.__version__ != CHECKED_VERSION:
    raise UnsupportedBentoML(
        f"the cures in {__name__} were checked against bentoml {CHECKED_VERSION}, but {bentoml.__version__} is installed: "
        f"install {CHECKED_VERSION}, or check each cure and raise CHECKED_VERSION"
    )


# -- 1, 3: configuration ---------------------------------------------------------------------------------------------------------


def service_config(timeout_s: float, *, threads: int = 1, gpus: int = 0) -> dict[str, Any]:
    """Keyword arguments of `@bentoml.service` that every service of ours has in common.

    `timeout_s` is where BentoML itself gives a request up; a service's own deadlines come first. One worker: a model's queue and a store's
    writer must not be split over processes; services scale by replicas.
    """
    return {
        "workers": 1,
        "threads": threads,
        "resources": {"gpu": gpus} if gpus else {},
        "traffic": {"timeout": timeout_s},
        "runner_probe": {"enabled": False},
        "runner_connection": {"max_requests": 10**9, "max_age": 1e9},
        "logging": {"access": {"enabled": False}},
    }


async def is_ready(dependency: object, timeout_s: float) -> bool:
    """Whether the service behind a `bentoml.depends` attribute says it is ready, within `timeout_s`. In-process dependencies always are."""
    client = getattr(dependency, "to_async", None)
    if client is None:
        return True
    try:
        async with asyncio.timeout(timeout_s):
            return bool(await client.is_ready())
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


class _WithoutRejectedBodies(logging.Filter):
    """BentoML logs every refused request with a traceback that quotes the caller's text. The border logs one line for it already."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], ValidationError))


logging.getLogger("bentoml._internal.server.http_app").addFilter(_WithoutRejectedBodies())


# -- 2: batching -----------------------------------------------------------------------------------------------------------------


def cap_batch_wait(cap_s: float) -> None:
    """Bound what BentoML's dispatcher has learned to wait for company, in this process.

    Batches still form: while one is computed, the next gathers.
    """

    def bounded(self: Any) -> float:
        return min(float(self.__dict__.get("wait", 0.0)), cap_s)

    def store(self: Any, value: float) -> None:
        self.__dict__["wait"] = value

    dispatcher.Optimizer.wait = property(bounded, store)  # type: ignore[assignment]


# -- 5: idle sockets -------------------------------------------------------------------------------------------------------------


class _PatientSessions(proxy2.SessionManager):
    """BentoML's session with a connection pool that lets go of an idle socket before uvicorn does."""

    def _make_client(self) -> aiohttp.ClientSession:
        if self._app is not None:
            return cast("aiohttp.ClientSession", super()._make_client())
        connector: aiohttp.BaseConnector
        if self._parsed_url.scheme == "file":
            path = proxy2.uri_to_path(self._parsed_url.geturl())
            connector = aiohttp.UnixConnector(path=path, keepalive_timeout=CLIENT_KEEP_ALIVE_S, limit=0)
            base_url = "http://127.0.0.1:3000"
        else:
            connector = aiohttp.TCPConnector(keepalive_timeout=CLIENT_KEEP_ALIVE_S, limit=0)
            base_url = self._parsed_url._replace(scheme=self._parsed_url.scheme.replace("tcp", "http")).geturl()
        # A container that has gone leaves an address where packets vanish: connecting to it would take all of the call's time.
        timeout = aiohttp.ClientTimeout(total=self._timeout.total, sock_connect=CONNECT_TIMEOUT_S)
        return aiohttp.ClientSession(base_url=base_url, headers=self._headers, timeout=timeout, connector=connector)


proxy2.SessionManager = _PatientSessions


# -- 6: calls and errors ---------------------------------------------------------------------------------------------------------


async def call(service: str, method: Callable[P, Coroutine[Any, Any, T]], timeout_s: float, *args: P.args, **kwargs: P.kwargs) -> T:
    """Await `method` (of `dependency.to_async`) within `timeout_s`; `service` names it in errors.

    Everything that Ekiben's services offer each other may be repeated, so a call that met a stale socket is tried once more. Raises the
    error that the service answered, DependencyUnavailable (503) or DeadlineExceeded (504), nothing else.
    """
    try:
        async with asyncio.timeout(timeout_s):
            try:
                return await method(*args, **kwargs)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError) as error:
                if isinstance(error, aiohttp.ClientConnectorError):
                    raise
                return await method(*args, **kwargs)
    except (TimeoutError, aiohttp.ClientError, OSError, BentoMLException, ValueError) as error:
        raise translate(service, error, timeout_s) from error


def translate(service: str, error: Exception, timeout_s: float) -> EkibenError:
    """What a failed call to `service` means in our own vocabulary."""
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
        return DeadlineExceeded(f"{service} did not answer within {timeout_s:g} s")
    if isinstance(error, BentoMLException):
        return _answered_error(service, error)
    if isinstance(error, ValidationError):
        return Internal(f"{service} gave an answer that is not valid: {error.error_count()} faults in {error.title}")
    # aiohttp's InvalidURL is a ValueError too, but says that nobody was reached.
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
        return Internal(f"{service} gave an answer that can't be read ({type(error).__name__})")
    return DependencyUnavailable(f"{service} can't be reached ({type(error).__name__})")


def _answered_error(service: str, error: BentoMLException) -> EkibenError:
    try:
        return error_from(ErrorBody.model_validate_json(str(error)).error)
    except ValidationError:
        # BentoML's own answers: 504 where the service gave up by `traffic.timeout`.
        kind = DeadlineExceeded if error.error_code == HTTPStatus.GATEWAY_TIMEOUT else DependencyUnavailable
        return kind(f"{service} answered {error.error_code.value}")


def answers_errors(function: Callable[Concatenate[S, P], Awaitable[R]]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """Wrap an async API method so that an EkibenError becomes its HTTP answer.

    BentoML would log a traceback with the caller's text, hide the message of a 5xx, and nest that of a 4xx at every hop. It passes a
    Response on as it is, whatever the declared type.
    """

    @functools.wraps(function)
    async def wrapped(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await function(self, *args, **kwargs)
        except EkibenError as error:
            return cast("R", error_response(error))

    return cast("Callable[Concatenate[S, P], Coroutine[Any, Any, R]]", wrapped)


def error_response(error: EkibenError) -> Response:
    """`error` as the HTTP answer that stands in docs and README."""
    status = error.status or 500
    headers = {"Retry-After": str(math.ceil(error.retry_after_s or 1))} if status in (429, 503) else None
    body = ErrorBody(error=error.info(request_id.get() or None))
    return JSONResponse(body.model_dump(mode="json"), status_code=status, headers=headers)


# -- 7: batches ------------------------------------------------------------------------------------------------------------------


def checked_batch(
    function: Callable[[S, list[T]], Awaitable[Sequence[R]]],
) -> Callable[[S, list[T]], Awaitable[list[R]]]:
    """Wrap a batchable API method: as many results as items, or Internal for the whole batch instead of another caller's result.

    What can go wrong with one item is the method's to answer in that item's result (an `error` field): an exception fails all of a batch.
    """

    @functools.wraps(function)
    async def wrapped(self: S, items: list[T]) -> list[R]:
        results = list(await function(self, items)) if items else []
        if len(results) != len(items):
            raise Internal(f"{function.__qualname__} gave {len(results)} results for {len(items)} items; none is handed out")
        return results

    return wrapped


# -- 4: streams ------------------------------------------------------------------------------------------------------------------

DONE: Mapping[str, object] = {"event": "done"}


def event_line(event: Mapping[str, object]) -> str:
    """One event as a line of ASCII NDJSON, which survives any cutting on its way."""
    return json.dumps(event, ensure_ascii=True, separators=(",", ":")) + "\n"


async def events(source: AsyncGenerator[Mapping[str, object], None]) -> AsyncGenerator[str, None]:
    """The lines a streaming API yields: each event of `source`, then `done`; or `error` with the error's data where `source` fails."""
    try:
        async with contextlib.aclosing(source):
            async for event in source:
                yield event_line(event)
    except EkibenError as error:
        yield event_line({"event": "error", "error": error.info(request_id.get() or None).model_dump()})
    else:
        yield event_line(DONE)


async def stream_events(service: str, dependency: object, route: str, payload: Mapping[str, object]) -> AsyncGenerator[dict[str, Any], None]:
    """Events of a streaming API of a dependency, without the final `done`.

    Closing this iterator closes the socket, which cancels the work upstream. Raises the error the stream ends with, and DependencyUnavailable
    where it ends without `done`.
    """
    headers: dict[str, str] = {}
    propagate.inject(headers)
    session = await cast("Any", dependency).to_async._session_manager.get_session()
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=STREAM_READ_TIMEOUT_S)
    try:
        async with session.post(route, json=payload, headers=headers, timeout=timeout) as response:
            if response.status != HTTPStatus.OK:
                raise _answered_error(service, await proxy2.map_exception(response))
            async for line in _lines(response.content):
                event = json.loads(line)
                if event.get("event") == "done":
                    return
                if event.get("event") == "error":
                    raise error_from(ErrorBody.model_validate({"error": event["error"]}).error)
                yield event
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        raise translate(service, error, STREAM_READ_TIMEOUT_S) from error
    raise DependencyUnavailable(f"{service} broke off in the middle of a stream")


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The whole lines of `content`, of any length; aiohttp's own line reader refuses those over 128 KiB. A line without its end is left out."""
    rest = b""
    async for piece in content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
