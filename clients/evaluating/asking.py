"""Asks the questions of a set over HTTP, a few at a time."""

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import typer
from pydantic import ValidationError

from clients.connection import Unreachable
from clients.evaluating.corpora import SCOPE_KEY
from clients.evaluating.stores import Place
from clients.http_client import EkibenClient
from core.errors import DocumentNotFound, EkibenError, InvalidRequest
from core.schemas import MAX_TOP_K, AnswerRequest, Filters, Mode, SearchRequest, SearchResponse
from pipelines.evaluation.judging import Responses, judge
from pipelines.evaluation.question_sets import QuestionSet, SetQuestion
from pipelines.evaluation.report import Options, Row
from pipelines.ingestion.refusing import explain

ROUND_TRIP = "round trip"
"""The stage that is the time from the request to the answer, as the client sees it."""
_TELL_EVERY_S = 10.0
_WARM_UP = 2

Response = TypeVar("Response")


def ask_all(questions: Sequence[SetQuestion], of: QuestionSet, place: Place, options: Options) -> tuple[Row, ...]:
    """A row for each question, in order; one that fails has an error. Raises Unreachable where nothing answers any more."""
    with EkibenClient(place.url) as client, ThreadPoolExecutor(options.clients, thread_name_prefix="ask") as pool:
        asker = _Asker(client, of, place.collection, options)
        for question in questions[:_WARM_UP]:
            # The first call of each service pays for what is loaded late.
            asker.ask(question)
        progress = _Progress(of.name, len(questions))
        futures = [pool.submit(asker.ask, question) for question in questions]
        try:
            return tuple(progress.count(future.result()) for future in futures)
        except BaseException:
            client.give_up()
            pool.shutdown(cancel_futures=True)
            raise


class _Asker:
    """Thread-safe."""

    def __init__(self, client: EkibenClient, of: QuestionSet, collection: str, options: Options) -> None:
        self._client = client
        self._set = of
        self._collection = collection
        self._options = options
        self._texts: dict[str, str | None] = {}

    def ask(self, question: SetQuestion) -> Row:
        relevant = self._set.relevant(question.id)
        try:
            return judge(question, relevant, self._ask(question), self._text_of)
        except Unreachable:
            raise
        except EkibenError as error:
            failed = error.info()
        except ValidationError as error:
            failed = InvalidRequest(explain(error)).info()
        return judge(question, relevant, Responses(error=failed), self._text_of)

    def _ask(self, question: SetQuestion) -> Responses:
        responses = Responses()
        filters: Filters = {SCOPE_KEY: question.scope} if question.scope else {}
        for mode in self._options.modes:
            responses.searches[mode] = self._search(question, mode, filters, responses)
        if not self._options.retrieval_only:
            asked = AnswerRequest(
                question=question.text,
                top_k=self._options.top_k,
                mode=self._options.modes[0],
                collections=[self._collection],
                filters=filters,
                debug=True,
            )
            answer, milliseconds = _timed(lambda: self._client.answer(asked))
            responses.answer = answer
            responses.timings_ms["answer"] = {**answer.timings_ms, ROUND_TRIP: milliseconds}
        return responses

    def _search(self, question: SetQuestion, mode: Mode, filters: Filters, responses: Responses) -> SearchResponse:
        # Many passages may be of one document, and the measures count documents.
        asked = SearchRequest(query=question.text, top_k=MAX_TOP_K, mode=mode, collections=[self._collection], filters=filters)
        found, milliseconds = _timed(lambda: self._client.search(asked))
        responses.timings_ms[f"search {mode}"] = {**found.timings_ms, ROUND_TRIP: milliseconds}
        return found

    def _text_of(self, document_id: str) -> str | None:
        # Two threads may fetch the same text; it is the same.
        if document_id not in self._texts:
            try:
                self._texts[document_id] = self._client.get(document_id, self._collection).text
            except DocumentNotFound:
                self._texts[document_id] = None
        return self._texts[document_id]


def _timed(call: Callable[[], Response]) -> tuple[Response, float]:
    started = time.perf_counter()
    response = call()
    return response, round((time.perf_counter() - started) * 1_000, 2)


class _Progress:
    """A line on stderr every ten seconds."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total = name, total
        self._done = self._failed = 0
        self._last_line = time.monotonic()
        typer.echo(f"{name}: asking {total} questions", file=sys.stderr)

    def count(self, row: Row) -> Row:
        self._done += 1
        self._failed += row.error is not None
        if time.monotonic() - self._last_line >= _TELL_EVERY_S:
            self._last_line = time.monotonic()
            typer.echo(f"{self._name}: {self._done} of {self._total} questions, {self._failed} failed", file=sys.stderr)
        return row
