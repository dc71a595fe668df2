"""The HTTP connection to a gateway: tries again what may pass, and turns its errors into those of `core.errors`."""

import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception

from core.errors import DeadlineExceeded, DependencyUnavailable, EkibenError, ErrorBody, Internal, QueueFull, error_from

DEFAULT_URL = "http://127.0.0.1:3000"
_FIRST_WAIT_S = 0.25
_MAX_WAIT_S = 10.0
_MAX_QUEUE_WAIT_S = 60.0

Model = TypeVar("Model", bound=BaseModel)
Request = Callable[[httpx.Client], httpx.Response]


class Unreachable(DependencyUnavailable):
    """Nothing answers at the URL."""


class Connection:
    """Sends requests to one gateway. Thread-safe.

    What may be tried again (429, 503, a lost connection, and a gateway that answered before and is gone now) is, until the pauses between
    the tries add up to `patience_s`. A pause is what Retry-After asks for, else 0.25 s doubled each time; at most 10 s, or a minute where
    the queue is full. What ran out of time is not tried again.
    """

    def __init__(self, url: str, timeout_s: float, patience_s: float, transport: httpx.BaseTransport | None) -> None:
        self._url = url
        self._patience_s = patience_s
        self._given_up = threading.Event()
        self._answered = False
        try:
            self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(timeout_s, connect=5.0), transport=transport)
        except httpx.InvalidURL as error:
            raise self._no_url(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def give_up(self) -> None:
        """From now on try nothing again; who waits for the next try in another thread gets the error of the last one."""
        self._given_up.set()

    @property
    def is_given_up(self) -> bool:
        """Whether `give_up` was called."""
        return self._given_up.is_set()

    def pause(self, seconds: float) -> None:
        """Wait, but not after `give_up`."""
        _wait(self._given_up, seconds)

    def call(self, model: type[Model], request: Request) -> Model:
        """The answer to `request` as a `model`."""
        return self.parse(model, self.send(request))

    def send(self, request: Request) -> httpx.Response:
        """The answer to `request`, which may be sent several times; its errors are raised."""
        retrying = Retrying(retry=retry_if_exception(self._may_pass), stop=self._is_over, wait=_pause_before_next, sleep=self.pause, reraise=True)
        return retrying(self._send_once, request)

    def lines(self, path: str, body: BaseModel) -> Generator[str, None, None]:
        """The lines of a streamed answer to a POST, as they come. It is sent again as in `send`, but not when the answer has begun."""
        content = body.model_dump(mode="json")
        response = self.send(lambda http: http.send(http.build_request("POST", path, json=content), stream=True))
        with closing(response), self._translated():
            yield from response.iter_lines()

    def parse(self, model: type[Model], response: httpx.Response) -> Model:
        """The body of `response`; raises Internal where it is none of ours."""
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise Internal(
                f"{self._url} does not answer as this version of Ekiben does ({error.error_count()} faults in {model.__name__})"
            ) from error

    def _send_once(self, request: Request) -> httpx.Response:
        with self._translated():
            response = request(self._http)
            if response.is_error:
                response.read()
        self._answered = True
        if response.is_error:
            raise _error_in(response)
        return response

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what httpx raises into errors of ours."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(f"nothing answers at {self._url}: start it with `ekiben serve`, or name another --url") from error
        except httpx.UnsupportedProtocol as error:
            raise self._no_url(error) from error
        except httpx.TimeoutException as error:
            raise DeadlineExceeded(f"{self._url} did not answer in time") from error
        except httpx.TransportError as error:
            raise DependencyUnavailable(f"the connection to {self._url} failed ({type(error).__name__})") from error

    def _may_pass(self, error: BaseException) -> bool:
        # Where nobody ever answered, or the time ran out already, the person is better asked than kept waiting.
        if isinstance(error, DeadlineExceeded) or (isinstance(error, Unreachable) and not self._answered):
            return False
        return isinstance(error, EkibenError) and error.retryable and not self._given_up.is_set()

    def _is_over(self, state: RetryCallState) -> bool:
        return state.idle_for + state.upcoming_sleep > self._patience_s

    def _no_url(self, error: Exception) -> Unreachable:
        return Unreachable(f"{self._url!r} is no address of a gateway ({error}): write it as {DEFAULT_URL}")


def requesting(
    method: str, path: str, body: BaseModel | object | None = None, parameters: Mapping[str, str | None] | None = None, timeout_s: float | None = None
) -> Request:
    """A request with a JSON body; parameters that are None are left out. `timeout_s` stands in for the client's own."""
    content = body.model_dump(mode="json") if isinstance(body, BaseModel) else body
    query = {key: value for key, value in (parameters or {}).items() if value is not None}
    timeout = httpx.USE_CLIENT_DEFAULT if timeout_s is None else httpx.Timeout(timeout_s, connect=5.0)
    return lambda http: http.request(method, path, json=content, params=query, timeout=timeout)


def _error_in(response: httpx.Response) -> EkibenError:
    try:
        error = error_from(ErrorBody.model_validate_json(response.content).error)
    except ValidationError:
        error = Internal(f"{response.request.url} answered {response.status_code} without an error of ours; is this an Ekiben gateway?")
    error.retry_after_s = _seconds(response.headers.get("retry-after"))
    return error


def _seconds(header: str | None) -> float | None:
    return float(header) if header and header.isdecimal() else None


def _pause_before_next(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_s if isinstance(error, EkibenError) else None
    wanted = _FIRST_WAIT_S * 2.0 ** (state.attempt_number - 1) if asked is None else max(asked, _FIRST_WAIT_S)
    return min(wanted, _MAX_QUEUE_WAIT_S if isinstance(error, QueueFull) else _MAX_WAIT_S)


def _wait(given_up: threading.Event, seconds: float) -> None:
    given_up.wait(seconds)
