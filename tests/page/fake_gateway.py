"""A gateway that serves the real page and says what a test wants it to say, when the test wants it."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from core.errors import DocumentNotFound, EkibenError, Internal
from core.schemas import Answer, ChannelScores, Citation, DocumentCounts, DocumentResult, Job, JobState, Passage, StoredDocument, Summary
from services.bentoml_runtime import error_response
from services.border import under_request_id
from services.gateway.page.page import page_routes
from tests.servers import free_port

REQUEST_ID = "req-0123456789"
GATE_TIMEOUT_S = 20.0

# Emoji, a combined one too, stand before, in and behind the quote; some of the text is what an attacker would write.
BEFORE = "🚂🚃 Notes 👩‍🚒 <script>document.title='broken'</script>\n\n"
QUOTE = "Tama 🐱 was appointed in 2007 <img src=x onerror=\"document.title='broken'\">."
AFTER = " She was paid in cat food. 🐟\n" + "The line runs on.\n" * 40
TEXT = BEFORE + QUOTE + AFTER
START, END = len(BEFORE), len(BEFORE) + len(QUOTE)
YEAR = START + QUOTE.index("2007")
TITLE = "Cats <b>and</b> trains 🐈"


def passage(number: int = 0, text: str = QUOTE) -> Passage:
    place = {"start": START, "end": START + len(text), "page": 3 if number == 0 else None}
    headings = ("Staff and animals of the Kishigawa line in Wakayama Prefecture", "Cats")
    scores = ChannelScores(dense=0.61, lexical=7.4)
    ids = {"document_id": f"cats/{number}.md", "chunk_id": f"cats/{number}.md#0", "collection": "default", "title": TITLE}
    return Passage(
        **ids,
        **place,
        text=text,
        headings=headings,
        score=0.9 - number / 10,
        scores=scores,
    )


def citation(sentence: int = 0, verified: bool = True) -> Citation:
    ids = {"document_id": "cats/0.md", "chunk_id": "cats/0.md#0", "collection": "default", "title": TITLE}
    return Citation(**ids, sentence=sentence, page=3, start=START, end=END, quote=QUOTE, verified=verified)


def summary(number: int) -> Summary:
    return Summary(
        document_id=f"cats/{number}.md", chunk_id=f"cats/{number}.md#0", text=f"Summary {number}: a cat was appointed, which the line has told since."
    )


def answer(passages: int = 3, **changes: Any) -> dict[str, Any]:
    """An Answer as JSON, whose first citation has the optional highlights."""
    told = {
        "id": "ans_1",
        "question": "Who was appointed?",
        "answer": "Tama was appointed in 2007. She was a cat.",
        "sentences": ("Tama was appointed in 2007.", "She was a cat."),
        "abstained": False,
        "confidence": 0.83,
        "degraded": False,
        "citations": (citation(0), citation(1, verified=False)),
        "passages": tuple(passage(number) for number in range(passages)),
        "summaries": tuple(summary(number) for number in range(passages)),
        "timings_ms": {"retrieve": 31.0, "summarize": 240.0, "compose": 90.5, "verify": 2.0, "total": 363.5},
    }
    content = Answer(**{**told, **changes}).model_dump(mode="json")
    for one in content["citations"][:1]:
        one |= {"highlights": [[YEAR, YEAR + 4]], "context": "About the staff of the line."}
    return content


def retrieved(passages: int = 3, **changes: Any) -> tuple[str, dict[str, Any]]:
    found = [passage(number).model_dump(mode="json") for number in range(passages)]
    return "retrieved", {"id": "ans_1", "passages": found, "degraded": False, "notes": [], "timings_ms": {"retrieve": 31.0}, **changes}


def summarized(number: int) -> tuple[str, dict[str, Any]]:
    return "summary", {"index": number, "summary": summary(number).model_dump(mode="json")}


def cited() -> tuple[str, dict[str, Any]]:
    return "citations", {"sentences": answer()["sentences"], "citations": answer()["citations"]}


def job(state: JobState, items_done: int, errors: tuple[DocumentResult, ...] = (), **documents: int) -> dict[str, Any]:
    """A Job of three items as JSON."""
    ended = "2025-01-01T00:00:05Z" if state in ("done", "cancelled") else None
    told = {"id": "job_1", "collection": "default", "created_at": "2025-01-01T00:00:00Z", "finished_at": ended, "items": 3, "errors": errors}
    return Job(**told, state=state, items_done=items_done, documents=DocumentCounts(**documents)).model_dump(mode="json")


class Gate:
    """A place in a stream at which it waits until the test opens it."""

    def __init__(self) -> None:
        self._opened = threading.Event()

    def open(self) -> None:
        self._opened.set()

    async def passed(self) -> None:
        assert await asyncio.to_thread(self._opened.wait, GATE_TIMEOUT_S), "no test opened the gate"


Step = tuple[str, Any] | Gate | bytes


@dataclass
class FakeGateway:
    """What is answered next. `stream` None means an answer in one piece, and a refusal of `stream: true`, as servers without streaming do."""

    stream: list[Step] | None = None
    refusal: EkibenError | None = None
    whole: dict[str, Any] = field(default_factory=answer)
    text: str = TEXT
    job: dict[str, Any] | None = None
    cancelled: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)

    def app(self) -> Starlette:
        routes = [
            Route("/v1/answer", self._answer, methods=["POST"]),
            Route("/v1/collections", self._collections),
            Route("/v1/documents", self._add, methods=["POST"]),
            Route("/v1/documents", self._list),
            Route("/v1/documents/{id:path}", self._document),
            Route("/v1/jobs", self._list_jobs),
            Route("/v1/jobs/job_1", self._job),
            Route("/v1/jobs/job_1/cancel", self._cancel, methods=["POST"]),
        ]
        return Starlette(routes=[*routes, *page_routes()])

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        if self.refusal is not None:
            return _refused(self.refusal)
        if self.stream is None:
            refused = {"code": "invalid_request", "message": "stream: Input should be False", "request_id": REQUEST_ID, "retryable": False}
            return JSONResponse({"error": refused}, 422) if body.get("stream") else JSONResponse(self.whole)
        return StreamingResponse(self._events(self.stream), media_type="text/event-stream")

    async def _events(self, steps: list[Step]) -> AsyncIterator[bytes]:
        try:
            for step in steps:
                if isinstance(step, Gate):
                    await step.passed()
                elif isinstance(step, bytes):
                    yield step
                else:
                    yield f"event: {step[0]}\ndata: {json.dumps(step[1], ensure_ascii=False)}\n\n".encode()
        except (asyncio.CancelledError, ClientDisconnect):
            self.gone.set()
            raise

    async def _collections(self, _: Request) -> Response:
        one = {"name": "default", "settings": {"description": ""}, "documents": 3, "chunks": 3, "created_at": "2025-01-01T00:00:00Z"}
        return JSONResponse({"collections": [one]})

    async def _add(self, request: Request) -> Response:
        async with request.form():
            return JSONResponse(self.job, 202) if self.job else _refused(self.refusal or Internal("no test wants files stored"))

    async def _list(self, _: Request) -> Response:
        return JSONResponse({"documents": [], "next": None})

    async def _list_jobs(self, request: Request) -> Response:
        found = [self.job] if self.job and self.job["state"] == request.query_params["state"] else []
        return JSONResponse({"jobs": found, "next": None})

    async def _job(self, _: Request) -> Response:
        return JSONResponse(self.job)

    async def _cancel(self, _: Request) -> Response:
        self.cancelled = True
        self.job = job("cancelled", 1, created=1)
        return JSONResponse(self.job)

    async def _document(self, request: Request) -> Response:
        if not self.text:
            return _refused(DocumentNotFound("there is no such document"))
        stored = {"collection": request.query_params["collection"], "content_hash": "0", "chunks": 1, "added_at": "2025-01-01T00:00:00Z"}
        document = StoredDocument(id=request.path_params["id"], title=TITLE, text=self.text, **stored)
        return Response(document.model_dump_json(), media_type="application/json")


def _refused(error: EkibenError) -> Response:
    with under_request_id(REQUEST_ID):
        return error_response(error)


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """`app` on a free port, in a thread; its URL."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended at once"
            threading.Event().wait(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
