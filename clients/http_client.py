"""The Python client of the gateway's HTTP API."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from clients.connection import DEFAULT_URL, Connection, requesting
from clients.event_stream import answer_events
from clients.job_results import results_of_job
from clients.paths import document_path, segment
from core.errors import DependencyUnavailable
from core.schemas import (
    DEFAULT_COLLECTION,
    MAX_PAGE_SIZE,
    AddResponse,
    Answer,
    AnswerEvent,
    AnswerRecord,
    AnswerRequest,
    Collection,
    CollectionDeleted,
    CollectionList,
    CollectionSettings,
    Compaction,
    DeleteResponse,
    Document,
    DocumentPage,
    DocumentResult,
    DocumentSummary,
    FieldMap,
    Job,
    JobPage,
    JobState,
    ReindexStatus,
    Replay,
    SearchRequest,
    SearchResponse,
    ServiceStatus,
    StoredDocument,
)

# Below `jobs.sync_documents` and `jobs.sync_chars`, up to which the gateway answers with one result a document.
MAX_SYNC_DOCUMENTS = 48
MAX_SYNC_CHARS = 400_000
PATIENCE_S = 10.0
LONG_PATIENCE_S = 300.0
"""For work that has to survive a restart of the server."""
_LONG_TIMEOUT_S = 3_600.0
_FIRST_POLL_S, _MAX_POLL_S, _POLL_GROWTH = 0.1, 2.0, 1.5
_FINISHED: frozenset[JobState] = frozenset({"done", "cancelled"})


class EkibenClient:
    """Calls one gateway. Errors are those of `core.errors`; what may pass is tried again for `patience_s`, see `Connection`. Thread-safe.

    Adding is safe to repeat: a document that is stored already is answered as unchanged.
    """

    def __init__(
        self, url: str = DEFAULT_URL, timeout_s: float = 180.0, patience_s: float = PATIENCE_S, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._connection = Connection(url, timeout_s, patience_s, transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def give_up(self) -> None:
        """From now on try nothing again, in any thread."""
        self._connection.give_up()

    def answer(self, request: AnswerRequest) -> Answer:
        """Ask a question."""
        return self._connection.call(Answer, requesting("POST", "/v1/answer", request.model_copy(update={"stream": False})))

    def stream(self, request: AnswerRequest) -> Iterator[AnswerEvent]:
        """Ask a question and follow its answer: the passages, each summary, the text, `done` with the whole answer last. Closing it stops the work.

        What fails midway is raised, and not tried again.
        """
        asked = request.model_copy(update={"stream": True})
        with closing(self._connection.lines("/v1/answer", asked)) as lines:
            yield from answer_events(lines)

    def search(self, request: SearchRequest) -> SearchResponse:
        """Find passages."""
        return self._connection.call(SearchResponse, requesting("POST", "/v1/search", request))

    def record(self, answer_id: str) -> AnswerRecord:
        """A recorded answer with its request."""
        return self._connection.call(AnswerRecord, requesting("GET", f"/v1/answers/{segment(answer_id)}"))

    def replay(self, answer_id: str) -> Replay:
        """Ask a recorded request again; tells what is different."""
        return self._connection.call(Replay, requesting("POST", f"/v1/answers/{segment(answer_id)}/replay", {}))

    # -- documents ----------------------------------------------------------------------------------------------------------------

    def add(self, documents: Sequence[Document], collection: str = DEFAULT_COLLECTION) -> AddResponse:
        """Store documents; one result each, in order. Blocks until they are stored, large ones too, which the gateway makes a job of.

        The result of such a document has no number of chunks.
        """
        return AddResponse(documents=tuple(result for part in _parts(documents) for result in self._add(part, collection)))

    def _add(self, documents: Sequence[Document], collection: str) -> Sequence[DocumentResult]:
        body = {"documents": [document.model_dump(mode="json") for document in documents], "collection": collection}
        response = self._connection.send(requesting("POST", "/v1/documents", body))
        if response.status_code == httpx.codes.ACCEPTED:
            job = self._connection.parse(Job, response)
            return results_of_job(self.wait(job.id), [document.id for document in documents])
        return self._connection.parse(AddResponse, response).documents

    def list_documents(self, limit: int = 100, cursor: str | None = None, collection: str | None = None) -> DocumentPage:
        """One page of the documents, all collections unless one is named."""
        parameters = {"limit": str(limit), "cursor": cursor, "collection": collection}
        return self._connection.call(DocumentPage, requesting("GET", "/v1/documents", parameters=parameters))

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
        return self._connection.call(StoredDocument, requesting("GET", document_path(document_id), parameters={"collection": collection}))

    def delete(self, document_id: str, collection: str = DEFAULT_COLLECTION) -> DeleteResponse:
        """Remove a document."""
        return self._connection.call(DeleteResponse, requesting("DELETE", document_path(document_id), parameters={"collection": collection}))

    # -- jobs ---------------------------------------------------------------------------------------------------------------------

    def upload(self, paths: Sequence[Path], collection: str = DEFAULT_COLLECTION, fields: FieldMap | None = None) -> Job:
        """Send files for the server to load; returns the job that stores them, see `wait`. Each goes by its name. Raises OSError."""
        form = {"collection": collection, **({"fields": fields.model_dump_json(exclude_none=True)} if fields else {})}

        def send(http: httpx.Client) -> httpx.Response:
            with ExitStack() as opened:
                files = [("files", (path.name, opened.enter_context(path.open("rb")))) for path in paths]
                return http.post("/v1/documents", data=form, files=files)

        return self._connection.call(Job, send)

    def job(self, job_id: str) -> Job:
        """The state of a job."""
        return self._connection.call(Job, requesting("GET", f"/v1/jobs/{segment(job_id)}"))

    def jobs(self, limit: int = 100, cursor: str | None = None, collection: str | None = None, state: JobState | None = None) -> JobPage:
        """One page of the jobs, newest first."""
        parameters = {"limit": str(limit), "cursor": cursor, "collection": collection, "state": state}
        return self._connection.call(JobPage, requesting("GET", "/v1/jobs", parameters=parameters))

    def all_jobs(self, collection: str | None = None, state: JobState | None = None) -> Iterator[Job]:
        """Every job, page by page, newest first."""
        cursor: str | None = None
        while True:
            page = self.jobs(MAX_PAGE_SIZE, cursor, collection, state)
            yield from page.jobs
            if (cursor := page.next) is None:
                return

    def cancel_job(self, job_id: str) -> Job:
        """Stop a job before its next document; what is stored stays."""
        return self._connection.call(Job, requesting("POST", f"/v1/jobs/{segment(job_id)}/cancel", {}))

    def watch(self, job_id: str) -> Iterator[Job]:
        """The state of a job again and again, until it is finished. Raises DependencyUnavailable after `give_up`; the job goes on."""
        for pause in _pauses():
            job = self.job(job_id)
            yield job
            if job.state in _FINISHED:
                return
            self._connection.pause(pause)
            if self._connection.is_given_up:
                raise DependencyUnavailable(f"job {job_id} goes on without being waited for: see `ekiben jobs show {job_id}`")

    def wait(self, job_id: str) -> Job:
        """The job when it is finished. Blocks."""
        *_, job = self.watch(job_id)
        return job

    # -- collections and maintenance ----------------------------------------------------------------------------------------------

    def collections(self) -> tuple[Collection, ...]:
        """All collections, by name."""
        return self._connection.call(CollectionList, requesting("GET", "/v1/collections")).collections

    def put_collection(self, name: str, settings: CollectionSettings) -> Collection:
        """Create a collection, or change its settings."""
        return self._connection.call(Collection, requesting("PUT", f"/v1/collections/{segment(name)}", settings))

    def delete_collection(self, name: str) -> CollectionDeleted:
        """Remove a collection with all its documents; takes minutes for a large one."""
        return self._connection.call(CollectionDeleted, requesting("DELETE", f"/v1/collections/{segment(name)}", timeout_s=_LONG_TIMEOUT_S))

    def compact(self) -> Compaction:
        """Give the space of deleted documents back to the disk; takes minutes for a large store."""
        return self._connection.call(Compaction, requesting("POST", "/v1/compact", {}, timeout_s=_LONG_TIMEOUT_S))

    def reindex(self) -> ReindexStatus:
        """Begin to move the index over to the Embedder's newest encoder; `watch_reindex` tells how far it is."""
        return self._connection.call(ReindexStatus, requesting("POST", "/v1/reindex", {}))

    def watch_reindex(self) -> Iterator[ReindexStatus]:
        """How far the reindexing is, again and again; ends when it is done, or after it has failed."""
        for pause in _pauses():
            store = self.status().store
            # Without a store the Retriever is away for a moment, and nobody knows.
            if store and store.reindex is None:
                return
            if store and store.reindex:
                yield store.reindex
                if store.reindex.state == "failed":
                    return
            self._connection.pause(pause)

    def status(self) -> ServiceStatus:
        """State of all parts."""
        return self._connection.call(ServiceStatus, requesting("GET", "/v1/status"))


def _parts(documents: Sequence[Document]) -> Iterator[list[Document]]:
    """`documents` in pieces that the gateway stores before it answers; one that is longer is alone."""
    part: list[Document] = []
    chars = 0
    for document in documents:
        if part and (len(part) >= MAX_SYNC_DOCUMENTS or chars + len(document.text) > MAX_SYNC_CHARS):
            yield part
            part, chars = [], 0
        part.append(document)
        chars += len(document.text)
    if part:
        yield part


def _pauses() -> Iterator[float]:
    pause = _FIRST_POLL_S
    while True:
        yield pause
        pause = min(pause * _POLL_GROWTH, _MAX_POLL_S)
