"""A Retriever and a Generator in memory, which record what they are asked and can be told what to do with which passage."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path

from core.schemas import (
    ChannelScores,
    GenerationDone,
    GenerationEvent,
    GenerationItem,
    GenerationResult,
    GenerationSentence,
    GenerationText,
    Passage,
    SearchRequest,
    SearchResponse,
    Sentence,
    Source,
    Span,
)
from core.settings import AnsweringSettings
from pipelines.answering.calibration import Calibration, Logistic

LIMITS = AnsweringSettings(
    retrieve_timeout_s=5,
    summary_timeout_s=5,
    compose_timeout_s=5,
    answer_timeout_s=20,
    summary_sentences=3,
    answer_sentences=3,
    calibration=Path("calibration.json"),
    min_confidence=None,
    unverified="remove",
)
# Sees the best cosine alone: its confidence is half where that is 0.35.
CALIBRATION = Calibration(
    about=Logistic(intercept=-3.5, weights={"dense": 10.0}),
    says=Logistic(intercept=60.0, weights={}),
    threshold=0.5,
    false_refusal=0.05,
    fitted_on=(),
)
Write = Callable[[GenerationItem], Awaitable[GenerationResult]]
Stream = Callable[[GenerationItem], AsyncGenerator[GenerationEvent, None]]


def passage(number: int, text: str = "", *, cosine: float | None = 0.8, score: float | None = None, start: int = 100) -> Passage:
    """The passage of document `doc-NUMBER` that begins at `start`."""
    text = text or f"The bridge number {number} was opened in {1900 + number}. It is made of steel."
    return Passage(
        document_id=f"doc-{number}",
        chunk_id=f"doc-{number}#0",
        collection="default",
        title=f"Bridge {number}",
        start=start,
        end=start + len(text),
        text=text,
        page=number,
        score=score if score is not None else 1 - number / 100,
        scores=ChannelScores(dense=cosine, lexical=1.0),
    )


def first_sentence(source: Source) -> Sentence:
    """What a truthful backend makes of a passage: its first sentence, with the span it stands at."""
    assert source.span is not None
    quote = source.text.partition(". ")[0].removesuffix(".") + "."
    return Sentence(text=quote, supports=(span_in(source.span, 0, len(quote), quote),), score=source.score)


def span_in(span: Span, start: int, end: int, quote: str) -> Span:
    """The part of `span` from `start` to `end`, said to read `quote`."""
    return span.model_copy(update={"start": span.start + start, "end": span.start + end, "quote": quote})


class FakeRetriever:
    """Finds what it was given."""

    def __init__(self, passages: Sequence[Passage], *, degraded: bool = False, notes: Sequence[str] = ()) -> None:
        self.response = SearchResponse(passages=tuple(passages), degraded=degraded, notes=tuple(notes), index_version=7, timings_ms={"embed": 1.0})
        self.requests: list[SearchRequest] = []

    async def search(self, request: SearchRequest) -> SearchResponse:
        self.requests.append(request)
        return self.response


class FakeGenerator:
    """Quotes first sentences; `overrides` replaces that for the summaries of some documents, `write_answer` for compositions, `write_stream` for
    those that are streamed. A stream has the same sentences, a word at a time.
    """

    def __init__(self, overrides: dict[str, Write] | None = None, write_answer: Write | None = None, write_stream: Stream | None = None) -> None:
        self._overrides = overrides or {}
        self._write_answer = write_answer
        self._write_stream = write_stream
        self.streamed: list[GenerationItem] = []
        self.closed_streams = 0
        self.summarized: list[GenerationItem] = []
        self.composed: list[GenerationItem] = []
        self.at_once = self.most_at_once = 0

    async def summarize(self, item: GenerationItem) -> GenerationResult:
        self.summarized.append(item)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            (source,) = item.sources
            assert source.span is not None
            if override := self._overrides.get(source.span.document_id):
                return await override(item)
            return GenerationResult(sentences=(first_sentence(source),))
        finally:
            self.at_once -= 1

    async def compose(self, item: GenerationItem) -> GenerationResult:
        self.composed.append(item)
        if self._write_answer:
            return await self._write_answer(item)
        sentences = tuple(Sentence(text=source.text, supports=source.supports, score=source.score) for source in item.sources)
        return GenerationResult(sentences=sentences[: item.max_sentences])

    async def stream(self, item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
        self.streamed.append(item)
        try:
            async for event in self._write_stream(item) if self._write_stream else _spoken(await self.compose(item)):
                yield event
        finally:
            self.closed_streams += 1


async def _spoken(result: GenerationResult) -> AsyncGenerator[GenerationEvent, None]:
    """`result` as a language model would stream it."""
    for number, sentence in enumerate(result.sentences):
        for place, word in enumerate(sentence.text.split(" ")):
            await asyncio.sleep(0)
            yield GenerationText(text=f" {word}" if number or place else word)
        yield GenerationSentence(sentence=sentence)
    yield GenerationDone(result=result)
