"""The Python client of the gateway's HTTP API."""

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from core.errors import DeadlineExceeded, DependencyUnavailable, EkibenError, ErrorBody, Internal, error_from
from core.schemas import (
    DEFAULT_COLLECTION,
    MAX_PAGE_SIZE,
    AddResponse,
    Answer,
    AnswerRequest,
    DeleteResponse,
    Document,
    DocumentPage,
    DocumentSummary,
    SearchRequest,
    SearchResponse,
    ServiceStatus,
    StoredDocument,
)

DEFAULT_URL = "http://127.0.0.1:3000"
MAX_ATTEMPTS = 6
_MAX_WAIT_S = 10.0

Model = TypeVar("Model", bound=BaseModel)


class Unreachable(DependencyUnavailable):
    """Nothing answers at the URL."""


class EkibenClient:
    """Calls one gateway. Errors are those of `core.errors`; what may be tried again (429, 503, a lost connection) is, up to six times; what
    ran out of time is not.

    Adding is safe to repeat: a document that is stored already is answered as unchanged.
    """

    def __init__(self, url: str = DEFAULT_URL, timeout_s: float = 180.0, *, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url
        try:
            self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(timeout_s, connect=5.0), transport=transport)
        except httpx.InvalidURL as error:
            raise self._no_url(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()

    def answer(self, request: AnswerRequest) -> Answer:
        """Ask a question."""
        return self._call(Answer, "POST", "/v1/answer", request)

    def search(self, request: SearchRequest) -> SearchResponse:
        """Find passages."""
        return self._call(SearchResponse, "POST", "/v1/search", request)

    def add(self, documents: Sequence[Document], collection: str = DEFAULT_COLLECTION) -> AddResponse:
        """Store documents; one result each, in order."""
        body = {"documents": [document.model_dump(mode="json") for document in documents], "collection": collection}
        return self._call(AddResponse, "POST", "/v1/documents", body)

    def list_documents(self, limit: int = 100, cursor: str | None = None, collection: str | None = None) -> DocumentPage:
        """One page of the documents, all collections unless one is named."""
        parameters = {"limit": str(limit), "cursor": cursor, "collection": collection}
        return self._call(DocumentPage, "GET", "/v1/documents", parameters=parameters)

    def all_documents(self, collection: str | None = None) -> Iterator[DocumentSummary]:
        """Every document, page by page."""
        cursor: str | None = None
        while True:
            page = self.list_documents(MAX_PAGE_SIZE, cursor, collection)
            yield from page.documents
            if (cursor := page.next) is None:
                return

    def get(self, document_id: str, collection: str = DEFAULT_COLLECTION) -> StoredDocument:
        """A document with its text."""
        return self._call(StoredDocument, "GET", _path_of(document_id), parameters={"collection": collection})

    def delete(self, document_id: str, collection: str = DEFAULT_COLLECTION) -> DeleteResponse:
        """Remove a document."""
        return self._call(DeleteResponse, "DELETE", _path_of(document_id), parameters={"collection": collection})

    def status(self) -> ServiceStatus:
        """State of all parts."""
        return self._call(ServiceStatus, "GET", "/v1/status")

    def _call(
        self, model: type[Model], method: str, path: str, body: BaseModel | object | None = None, parameters: dict[str, str | None] | None = None
    ) -> Model:
        content = body.model_dump(mode="json") if isinstance(body, BaseModel) else body
        query = {key: value for key, value in (parameters or {}).items() if value is not None}
        response = _retrying(lambda: self._send(method, path, content, query))
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise Internal(
                f"{self._url} does not answer as this version of Ekiben does ({error.error_count()} faults in {model.__name__})"
            ) from error

    def _send(self, method: str, path: str, content: object | None, query: dict[str, str]) -> httpx.Response:
        try:
            response = self._http.request(method, path, json=content, params=query)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(f"nothing answers at {self._url}: start it with `ekiben serve`, or name another --url") from error
        except httpx.UnsupportedProtocol as error:
            raise self._no_url(error) from error
        except httpx.TimeoutException as error:
            raise DeadlineExceeded(f"{self._url} did not answer in time") from error
        except httpx.TransportError as error:
            raise DependencyUnavailable(f"the connection to {self._url} failed ({type(error).__name__})") from error
        if response.is_error:
            raise _error_in(response)
        return response

    def _no_url(self, error: Exception) -> Unreachable:
        return Unreachable(f"{self._url!r} is no address of a gateway ({error}): write it as {DEFAULT_URL}")


def _path_of(document_id: str) -> str:
    # HTTP clients resolve the segments . and .., so that "a/../b" would mean "b".
    segments = ["%2E" * len(segment) if segment in (".", "..") else quote(segment, safe="") for segment in document_id.split("/")]
    return "/v1/documents/" + "/".join(segments)


def _error_in(response: httpx.Response) -> EkibenError:
    try:
        error = error_from(ErrorBody.model_validate_json(response.content).error)
    except ValidationError:
        error = Internal(f"{response.request.url} answered {response.status_code} without an error of ours; is this an Ekiben gateway?")
    error.retry_after_s = _seconds(response.headers.get("retry-after"))
    return error


def _seconds(header: str | None) -> float | None:
    return float(header) if header and header.isdecimal() else None


def _retrying(send: Callable[[], httpx.Response]) -> httpx.Response:
    return Retrying(
        retry=retry_if_exception(_worth_another_try),
        stop=stop_after_attempt(MAX_ATTEMPTS),
        wait=_wait,
        reraise=True,
    )(send)


def _worth_another_try(error: BaseException) -> bool:
    # Where nobody listens, or the time ran out already, the person is better asked than kept waiting.
    return isinstance(error, EkibenError) and error.retryable and not isinstance(error, Unreachable | DeadlineExceeded)


def _wait(state: RetryCallState) -> float:
    """What the server asks for with Retry-After, else 0.25 s doubled each time; at most 10 s."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_s if isinstance(error, EkibenError) else None
    return min(asked if asked is not None else 0.25 * 2.0 ** (state.attempt_number - 1), _MAX_WAIT_S)
