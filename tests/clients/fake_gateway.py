"""A gateway in memory, behind the `transport` of EkibenClient."""

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

import httpx

from core.errors import DocumentNotFound, EkibenError, ErrorBody
from core.schemas import (
    AddResponse,
    Answer,
    ChannelScores,
    Citation,
    DeleteResponse,
    Document,
    DocumentPage,
    DocumentResult,
    DocumentSummary,
    Passage,
    SearchResponse,
    ServiceStatus,
    StoredDocument,
)

PASSAGE = Passage(
    document_id="a.md",
    chunk_id="a.md#0",
    collection="default",
    title="A",
    start=0,
    end=9,
    text="The text.",
    score=0.5,
    scores=ChannelScores(dense=0.5),
)
CITATION = Citation(
    sentence=0, document_id="a.md", chunk_id="a.md#0", collection="default", title="A", page=3, start=0, end=9, quote="The text.", verified=True
)
ANSWER = Answer(
    id="ans_1",
    question="What?",
    answer="The text.",
    abstained=False,
    confidence=0.5,
    degraded=False,
    citations=(CITATION,),
    passages=(PASSAGE,),
    summaries=(),
    timings_ms={"total": 12.0},
)


def error_answer(error: EkibenError, headers: dict[str, str] | None = None) -> httpx.Response:
    """`error` as the gateway answers it."""
    return httpx.Response(error.status or 500, json=ErrorBody(error=error.info("request-1")).model_dump(), headers=headers)


class FakeGateway:
    """Keeps documents. `failures` are answered or raised first, one a request, before anything works."""

    def __init__(self, failures: Iterable[httpx.Response | Exception] = ()) -> None:
        self.failures = list(failures)
        self.stored: dict[tuple[str, str], Document] = {}
        self.requests: list[httpx.Request] = []
        self.batches: list[list[Document]] = []
        self.ready = True

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        path = unquote(request.url.raw_path.decode().partition("?")[0])
        return self._route(request.method, path)(request)

    @property
    def asked(self) -> dict[str, Any]:
        """The body of the last request."""
        body: dict[str, Any] = json.loads(self.requests[-1].content)
        return body

    def _route(self, method: str, path: str) -> Callable[[httpx.Request], httpx.Response]:
        routes: dict[tuple[str, str], Callable[[httpx.Request], httpx.Response]] = {
            ("POST", "/v1/answer"): lambda _: _ok(ANSWER),
            ("POST", "/v1/search"): lambda _: _ok(SearchResponse(passages=(PASSAGE,))),
            ("GET", "/v1/status"): lambda _: _ok(ServiceStatus(version="1", ready=self.ready, store=None, generator=None)),
            ("POST", "/v1/documents"): self._add,
            ("GET", "/v1/documents"): self._list,
        }
        identifier = path.removeprefix("/v1/documents/")
        one = {"GET": self._get, "DELETE": self._delete}.get(method)
        return routes.get((method, path)) or (lambda request: one(request, identifier) if one else httpx.Response(404))

    def _add(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        batch = [Document.model_validate(one) for one in body["documents"]]
        self.batches.append(batch)
        return _ok(AddResponse(documents=tuple(self._put((body["collection"], one.id), one) for one in batch)))

    def _put(self, key: tuple[str, str], document: Document) -> DocumentResult:
        state = "created" if key not in self.stored else "unchanged" if self.stored[key] == document else "updated"
        self.stored[key] = document
        return DocumentResult.model_validate({"id": document.id, "state": state, "chunks": 1})

    def _list(self, request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("cursor", 0))
        limit = int(request.url.params["limit"])
        wanted = request.url.params.get("collection")
        keys = [key for key in sorted(self.stored) if wanted in (None, key[0])]
        rows = tuple(self._row(*key) for key in keys[start : start + limit])
        return _ok(DocumentPage(documents=rows, next=str(start + limit) if start + limit < len(keys) else None))

    def _row(self, collection: str, identifier: str) -> DocumentSummary:
        document = self.stored[collection, identifier]
        facts = {"chars": len(document.text), "chunks": 1, "content_hash": "0", "added_at": "2026-01-01"}
        return DocumentSummary.model_validate(document.model_dump(include={"id", "title", "metadata"}) | {"collection": collection} | facts)

    def _get(self, request: httpx.Request, identifier: str) -> httpx.Response:
        collection = request.url.params["collection"]
        if (collection, identifier) not in self.stored:
            return error_answer(DocumentNotFound(f"there is no document {identifier!r}"))
        facts = {"collection": collection, "chunks": 1, "content_hash": "0", "added_at": "2026-01-01"}
        return _ok(StoredDocument.model_validate(self.stored[collection, identifier].model_dump() | facts))

    def _delete(self, request: httpx.Request, identifier: str) -> httpx.Response:
        collection = request.url.params["collection"]
        if self.stored.pop((collection, identifier), None) is None:
            return error_answer(DocumentNotFound(f"there is no document {identifier!r}"))
        return _ok(DeleteResponse(id=identifier, collection=collection, chunks=1))


def _ok(model: AddResponse | Answer | DeleteResponse | DocumentPage | SearchResponse | ServiceStatus | StoredDocument) -> httpx.Response:
    return httpx.Response(200, content=model.model_dump_json())
