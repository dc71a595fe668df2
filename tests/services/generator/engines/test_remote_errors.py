from collections.abc import Iterator

import httpx2
import openai
import pytest

from core.errors import DependencyUnavailable, EkibenError, Overloaded, UnavailableError
from services.generator.engines.remote_errors import befalls_all, translate

REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1")


def _classes(root: type[openai.OpenAIError] = openai.OpenAIError) -> Iterator[type[openai.OpenAIError]]:
    yield root
    for cls in root.__subclasses__():
        yield from _classes(cls)


def _made(cls: type[openai.OpenAIError]) -> openai.OpenAIError:
    """An error of `cls` without the trouble of its signature; what translation reads is set."""
    error = cls.__new__(cls)
    status = getattr(cls, "status_code", 500)
    error.__dict__ |= {"message": "secret", "code": None, "type": None, "body": None, "request": REQUEST}
    error.__dict__ |= {"status_code": status, "response": httpx2.Response(status if isinstance(status, int) else 500, request=REQUEST)}
    return error


@pytest.mark.parametrize("cls", sorted(set(_classes()), key=lambda cls: cls.__name__), ids=lambda cls: cls.__name__)
def test_every_error_of_the_package_is_one_of_ours(cls: type[openai.OpenAIError]) -> None:
    ours = translate(_made(cls), 5.0)
    assert isinstance(ours, EkibenError)
    assert ours.code
    assert "secret" not in ours.message


@pytest.mark.parametrize(
    ("header", "seconds"), [("17", 17.0), ("0.5", 0.5), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("nan", None), (None, None)]
)
def test_retry_after_is_passed_on_where_it_counts_seconds(header: str | None, seconds: float | None) -> None:
    response = httpx2.Response(429, headers={"retry-after": header} if header else {}, request=REQUEST)
    ours = translate(openai.RateLimitError("", response=response, body=None), 5.0)
    assert isinstance(ours, Overloaded)
    assert ours.retry_after_s == seconds


@pytest.mark.parametrize("cause", [httpx2.ConnectError("x"), httpx2.ConnectTimeout("x"), httpx2.ReadError("x"), httpx2.ReadTimeout("x")])
def test_only_a_server_that_cannot_be_reached_befalls_all(cause: httpx2.TransportError) -> None:
    theirs = openai.APITimeoutError(REQUEST) if isinstance(cause, httpx2.TimeoutException) else openai.APIConnectionError(request=REQUEST)
    theirs.__cause__ = cause
    ours = translate(theirs, 5.0)
    ours.__cause__ = theirs
    assert isinstance(ours, UnavailableError)
    assert befalls_all(ours) is isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout)
    assert isinstance(ours, DependencyUnavailable) is not isinstance(cause, httpx2.ReadTimeout)
