"""A gateway in memory, behind the `transport` of EkibenClient."""

import json
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

import httpx
from pydantic import BaseModel

from core.errors import AnswerNotFound, CollectionNotFound, DocumentNotFound, EkibenError, ErrorBody, ErrorInfo, JobNotFound
from core.schemas import (
    AddResponse,
    Answer,
    AnswerEvent,
    AnswerRecord,
    AnswerRequest,
    ChannelScores,
    Citation,
    CitationsEvent,
    Cited,
    Collection,
    CollectionDeleted,
    CollectionList,
    CollectionSettings,
    Compaction,
    DeleteResponse,
    Document,
    DocumentCounts,
    DocumentPage,
    DocumentResult,
    DocumentSummary,
    DoneEvent,
    ErrorEvent,
    Job,
    JobPage,
    Passage,
    ReindexStatus,
    Replay,
    Retrieved,
    RetrievedEvent,
    SearchResponse,
    ServiceStatus,
    StoredDocument,
    StoreStatus,
    Token,
    TokenEvent,
)
from pipelines.answering.comparing import are_identical, differences

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

RECORD = AnswerRecord(id=ANSWER.id, created_at="2026-01-01", request=AnswerRequest(question="What?"), answer=ANSWER)


def error_answer(error: EkibenError, headers: dict[str, str] | None = None) -> httpx.Response:
    """`error` as the gateway answers it."""
    return httpx.Response(error.status or 500, json=ErrorBody(error=error.info("request-1")).model_dump(), headers=headers)


class FakeGateway:
    """Keeps documents. `failures` are answered or raised first, one a request, before anything works.

    A batch with more than `sync_chars` characters becomes a job, which is finished when it has been asked for `polls` times. What a reindexing
    says of itself stands in `reindexing`, one state a question. A replay of the one recorded answer gives `replayed`.
    """

    def __init__(self, failures: Iterable[httpx.Response | Exception] = ()) -> None:
        self.failures = list(failures)
        self.stored: dict[tuple[str, str], Document] = {}
        self.requests: list[httpx.Request] = []
        self.batches: list[list[Document]] = []
        self.ready = True
        self.sync_chars = 500_000
        self.polls = 3
        self.jobs: dict[str, Job] = {}
        self.collections: dict[str, CollectionSettings] = {}
        self.replayed = ANSWER
        self.answer = ANSWER
        self.tokens: list[str] = []
        self.break_off_after: int | None = None
        self.stream_error: EkibenError | None = None
        self.reindexing: list[ReindexStatus | None] = []
        self._lock = threading.Lock()

    @property
    def writes(self) -> list[str]:
        """Methods of the requests that change something."""
        return [request.method for request in self.requests if request.method != "GET"]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.requests.append(request)
            failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, Exception):
            raise failure
        path = unquote(request.url.raw_path.decode().partition("?")[0])
        return failure or self._route(request.method, path)(request)

    @property
    def asked(self) -> dict[str, Any]:
        """The body of the last request."""
        body: dict[str, Any] = json.loads(self.requests[-1].content)
        return body

    def _route(self, method: str, path: str) -> Callable[[httpx.Request], httpx.Response]:
        routes: dict[tuple[str, str], Callable[[httpx.Request], httpx.Response]] = {
            ("POST", "/v1/answer"): lambda request: self._stream() if json.loads(request.content)["stream"] else _ok(self.answer),
            ("POST", "/v1/search"): lambda _: _ok(SearchResponse(passages=(PASSAGE,))),
            ("GET", "/v1/status"): self._status,
            ("GET", "/v1/jobs"): self._list_jobs,
            ("GET", "/v1/collections"): lambda _: _ok(CollectionList(collections=tuple(map(self._collection, sorted(self.collections))))),
            ("POST", "/v1/compact"): lambda _: _ok(Compaction(bytes_before=2_000_000, bytes_after=1_000_000, vectors_dropped=5)),
            ("POST", "/v1/reindex"): lambda _: _ok(self.reindexing[0], 202),
            ("POST", "/v1/documents"): self._add,
            ("GET", "/v1/documents"): self._list,
        }
        if path.startswith("/v1/answers/"):
            return lambda _: self._answer(path.removeprefix("/v1/answers/"))
        if path.startswith("/v1/jobs/"):
            return lambda _: self._job(path.removeprefix("/v1/jobs/"))
        if path.startswith("/v1/collections/"):
            return lambda request: self._change_collection(request, path.removeprefix("/v1/collections/"))
        identifier = path.removeprefix("/v1/documents/")
        one = {"GET": self._get, "DELETE": self._delete}.get(method)
        return routes.get((method, path)) or (lambda request: one(request, identifier) if one else httpx.Response(404))

    def _add(self, request: httpx.Request) -> httpx.Response:
        if request.headers["content-type"].startswith("multipart/"):
            return _ok(self._start_job(DocumentCounts(created=1), ()), 202)
        body = json.loads(request.content)
        batch = [Document.model_validate(one) for one in body["documents"]]
        with self._lock:
            self.batches.append(batch)
            results = tuple(self._put((body["collection"], one.id), one) for one in batch)
        if sum(len(one.text) for one in batch) > self.sync_chars:
            counts = {state: sum(result.state == state for result in results) for state in DocumentCounts.model_fields}
            return _ok(self._start_job(DocumentCounts(**counts), [result for result in results if result.error]), 202)
        return _ok(AddResponse(documents=results))

    def _stream(self) -> httpx.Response:
        """`answer` as events, its text in the pieces of `tokens`; `break_off_after` so many events, and with `stream_error` then."""
        answer = self.answer
        events: list[AnswerEvent] = [
            RetrievedEvent(data=Retrieved(id=answer.id, passages=answer.passages, degraded=False, notes=(), timings_ms={})),
            *(TokenEvent(data=Token(text=text)) for text in self.tokens or [answer.answer]),
            CitationsEvent(data=Cited(sentences=answer.sentences, citations=answer.citations)),
            DoneEvent(data=answer),
        ][: self.break_off_after]
        events += [ErrorEvent(data=ErrorBody(error=self.stream_error.info()))] if self.stream_error else []
        text = ": keep-alive\n\n".join(f"event: {event.event}\ndata: {event.data.model_dump_json()}\n\n" for event in events)
        return httpx.Response(200, content=text.encode(), headers={"content-type": "text/event-stream"})

    def _start_job(self, counts: DocumentCounts, errors: Iterable[DocumentResult]) -> Job:
        job = Job(
            id=f"job_{len(self.jobs)}",
            collection="default",
            state="done",
            created_at="2026-01-01",
            items=1,
            items_done=1,
            documents=counts,
            errors=tuple(errors),
        )
        self.jobs[job.id] = job
        return job.model_copy(update={"state": "queued", "items_done": 0, "documents": DocumentCounts(), "errors": ()})

    def _answer(self, path: str) -> httpx.Response:
        identifier, _, replaying = path.partition("/")
        if identifier != RECORD.id:
            return error_answer(AnswerNotFound(f"there is no record of answer {identifier!r}"))
        found = differences(ANSWER, self.replayed)
        return _ok(Replay(record=RECORD, answer=self.replayed, identical=are_identical(found), differences=found) if replaying else RECORD)

    def _job(self, path: str) -> httpx.Response:
        identifier, _, cancelling = path.partition("/")
        if identifier not in self.jobs:
            return error_answer(JobNotFound(f"there is no job {identifier!r}"))
        if cancelling:
            self.jobs[identifier] = self.jobs[identifier].model_copy(update={"state": "cancelled"})
        self.polls -= 1
        return _ok(self.jobs[identifier] if cancelling or self.polls <= 0 else self.jobs[identifier].model_copy(update={"state": "running"}))

    def _list_jobs(self, request: httpx.Request) -> httpx.Response:
        start, limit = int(request.url.params.get("cursor", 0)), int(request.url.params["limit"])
        jobs = [job for job in self.jobs.values() if request.url.params.get("state") in (None, job.state)]
        return _ok(JobPage(jobs=tuple(jobs[start : start + limit]), next=str(start + limit) if start + limit < len(jobs) else None))

    def _collection(self, name: str) -> Collection:
        return Collection(name=name, settings=self.collections[name], documents=2, chunks=5, created_at="2026-01-01")

    def _change_collection(self, request: httpx.Request, name: str) -> httpx.Response:
        if request.method == "PUT":
            self.collections[name] = CollectionSettings.model_validate_json(request.content)
            return _ok(self._collection(name))
        if self.collections.pop(name, None) is None:
            return error_answer(CollectionNotFound(f"there is no collection {name!r}"))
        return _ok(CollectionDeleted(name=name, documents=2, chunks=5))

    def _status(self, _: httpx.Request) -> httpx.Response:
        reindex = self.reindexing.pop(0) if self.reindexing else None
        store = StoreStatus(documents=1, chunks=2, collections={}, index_version=3, reindex=reindex)
        return _ok(ServiceStatus(version="1", ready=self.ready, store=store, generator=None))

    def _put(self, key: tuple[str, str], document: Document) -> DocumentResult:
        state = "created" if key not in self.stored else "unchanged" if self.stored[key] == document else "updated"
        if "POISON" in document.text:
            return DocumentResult(id=document.id, state="failed", error=ErrorInfo(code="document_empty", message="poison"))
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
        facts = {"chars": len(document.text), "chunks": 1, "content_hash": document.hash_content(), "added_at": "2026-01-01"}
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


def _ok(model: BaseModel | None, status: int = 200) -> httpx.Response:
    assert model is not None
    return httpx.Response(status, content=model.model_dump_json())
