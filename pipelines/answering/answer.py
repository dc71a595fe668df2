"""The journey from a question to a cited answer: retrieve, summarize every passage in parallel, compose, verify."""

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence

from core.errors import DeadlineExceeded, EkibenError, ErrorInfo
from core.ports import Generates, Searches
from core.schemas import (
    Answer,
    AnswerDebug,
    AnswerRequest,
    Conditions,
    GenerationItem,
    GenerationResult,
    Passage,
    SearchRequest,
    SearchResponse,
    Sentence,
    Setting,
    Source,
    Span,
    Summary,
)
from core.settings import AnsweringSettings, shaping
from core.telemetry import ANSWERS, STAGE_SECONDS, request_id
from core.version import VERSION
from pipelines.answering.calibration import Calibration
from pipelines.answering.citations import borne_out, cite, with_highlights
from pipelines.answering.evidence import Evidence, evidence

NOT_FOUND = "The documents do not answer this question."
NOT_READ = "None of the passages found could be summarized, so nothing is known about what they answer; the notes say why."


class AnswerQuestion:
    """Answers one question at a call; holds no state between calls."""

    def __init__(self, retriever: Searches, generator: Generates, limits: AnsweringSettings, calibration: Calibration) -> None:
        self._retriever = retriever
        self._generator = generator
        self._limits = limits
        self._calibration = calibration
        self._threshold = calibration.threshold if limits.min_confidence is None else limits.min_confidence
        self._settings = {**shaping("answering", limits), "answering.calibration": calibration.digest()}

    async def __call__(self, request: AnswerRequest) -> Answer:
        """The answer to `request`. A summary that is late or fails is left out and noted (`degraded`); a failed retrieval is raised.

        Where the composition fails, the best sentences of the summaries stand in for it. Sentences without support are left out, and with the
        setting `unverified: remove` those too that their citations don't bear out. What is left decides how confident the answer is; below the
        threshold it is withheld.
        """
        stages = _Stages()
        found = await self._retrieve(request)
        stages.done("retrieve")
        passages = found.passages
        if not passages:
            return _answer(request, found, [], (), stages, self._settings)
        results = await asyncio.gather(*(self._summarize(found, request.question, passage) for passage in passages))
        stages.done("summarize")
        notes = [_note(passage, result.error) for passage, result in zip(passages, results, strict=True) if result.error]
        written, late = await self._compose(found, request.question, results)
        stages.done("compose")
        checked = written if self._limits.unverified == "mark" else [borne_out(sentence, passages) for sentence in written]
        sentences = [sentence for sentence in checked if sentence.supports]
        if unsupported := len(written) - len(sentences):
            notes.append(f"sentences that no source bears out were left out: {unsupported}")
        signals = evidence(request.question, found, sentences)
        confidence = None if signals is None else self._calibration.confidence(signals)
        if confidence is not None and confidence < self._threshold:
            sentences = []
        return _answer(request, found, results, sentences, stages, self._settings, [*notes, *late], confidence, signals)

    async def _retrieve(self, request: AnswerRequest) -> SearchResponse:
        search = SearchRequest(
            query=request.question,
            top_k=request.top_k,
            mode=request.mode,
            filters=request.filters,
            collections=request.collections,
            rerank=request.rerank,
        )
        async with _deadline(self._limits.retrieve_timeout_s, "the retrieval"):
            return await self._retriever.search(search)

    async def _summarize(self, found: SearchResponse, question: str, passage: Passage) -> GenerationResult:
        span = Span(
            document_id=passage.document_id,
            chunk_id=passage.chunk_id,
            collection=passage.collection,
            start=passage.start,
            end=passage.end,
            quote=passage.text,
        )
        source = Source(text=passage.text, title=passage.title, span=span, score=_relative(passage, found.passages))
        item = _item(found, question, (source,), self._limits.summary_sentences)
        try:
            async with _deadline(self._limits.summary_timeout_s, "the summary"):
                return await self._generator.summarize(item)
        except EkibenError as error:
            return GenerationResult(error=error.info())

    async def _compose(self, found: SearchResponse, question: str, summaries: Sequence[GenerationResult]) -> tuple[tuple[Sentence, ...], list[str]]:
        sources = tuple(
            Source(text=sentence.text, supports=sentence.supports, score=sentence.score) for result in summaries for sentence in result.sentences
        )
        if not sources:
            return (), []
        item = _item(found, question, sources, self._limits.answer_sentences)
        try:
            async with _deadline(self._limits.compose_timeout_s, "the composition"):
                result = await self._generator.compose(item)
        except EkibenError as error:
            result = GenerationResult(error=error.info())
        if result.error is None:
            return result.sentences, []
        sentences = [sentence for summary in summaries for sentence in summary.sentences]
        best = sorted(sentences, key=lambda sentence: -sentence.score)[: self._limits.answer_sentences]
        return tuple(best), [f"the best sentences of the summaries stand in for a composed answer: {result.error.message}"]


class _Stages:
    """Milliseconds by stage."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.milliseconds: dict[str, float] = {}

    def done(self, stage: str) -> None:
        now = time.perf_counter()
        STAGE_SECONDS.labels(stage=stage).observe(now - self._last)
        self.milliseconds[stage] = round((now - self._last) * 1000, 2)
        self._last = now

    def total(self) -> dict[str, float]:
        self.done("verify")
        return {**self.milliseconds, "total": round((self._last - self._start) * 1000, 2)}


class _deadline:  # noqa: N801 - reads as a statement
    """`asyncio.timeout` that raises DeadlineExceeded and names what was late."""

    def __init__(self, seconds: float, what: str) -> None:
        self._timeout = asyncio.timeout(seconds)
        self._message = f"{what} took longer than {seconds:g} s"

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *exception: object) -> None:
        try:
            await self._timeout.__aexit__(*exception)  # type: ignore[arg-type]
        except TimeoutError as error:
            raise DeadlineExceeded(self._message) from error


def _item(found: SearchResponse, question: str, sources: tuple[Source, ...], max_sentences: int) -> GenerationItem:
    return GenerationItem(
        question=question,
        sources=sources,
        max_sentences=max_sentences,
        rarity=found.rarity,
        encoder=found.encoder,
        request_id=request_id.get(),
    )


def _relative(passage: Passage, passages: Sequence[Passage]) -> float:
    """The passage's score against the best one's, in [0, 1], so that it means the same in every mode."""
    best = max(other.score for other in passages)
    return max(0.0, passage.score / best) if best > 0 else 0.0


def _note(passage: Passage, error: ErrorInfo) -> str:
    return f"no summary of {passage.chunk_id}: {error.message}"


def _answer(
    request: AnswerRequest,
    found: SearchResponse,
    summaries: Sequence[GenerationResult],
    sentences: Sequence[Sentence],
    stages: _Stages,
    settings: Mapping[str, Setting],
    notes: Sequence[str] = (),
    confidence: float | None = None,
    signals: Evidence | None = None,
) -> Answer:
    abstained = not sentences
    degraded = found.degraded or bool(notes)
    citations = with_highlights(cite(sentences, found.passages), _best(sentences), request.question, found.rarity)
    ANSWERS.labels(outcome="abstained" if abstained else "degraded" if degraded else "answered").inc()
    return Answer(
        id=f"ans_{uuid.uuid4().hex}",
        question=request.question,
        answer=_abstention(summaries) if abstained else " ".join(sentence.text for sentence in sentences),
        sentences=tuple(sentence.text for sentence in sentences),
        abstained=abstained,
        confidence=confidence,
        degraded=degraded,
        notes=(*found.notes, *notes),
        citations=citations,
        passages=found.passages,
        summaries=tuple(
            Summary(document_id=passage.document_id, chunk_id=passage.chunk_id, text=result.text, error=result.error)
            for passage, result in zip(found.passages, summaries, strict=False)
        ),
        timings_ms=stages.total(),
        conditions=_conditions(found, summaries, settings),
        debug=_debug(found, summaries, signals) if request.debug else None,
    )


def _best(sentences: Sequence[Sentence]) -> int:
    return max(range(len(sentences)), key=lambda number: sentences[number].score, default=0)


def _abstention(summaries: Sequence[GenerationResult]) -> str:
    return NOT_READ if summaries and all(result.error for result in summaries) else NOT_FOUND


def _conditions(found: SearchResponse, summaries: Sequence[GenerationResult], settings: Mapping[str, Setting]) -> Conditions:
    generator = next((result.generator for result in summaries if result.generator), None)
    return Conditions(
        version=VERSION,
        index_version=found.index_version,
        encoder=found.encoder,
        generator=generator,
        settings={**found.settings, **settings},
    )


def _debug(found: SearchResponse, summaries: Sequence[GenerationResult], signals: Evidence | None) -> AnswerDebug:
    return AnswerDebug(
        index_version=found.index_version,
        retrieval_ms=found.timings_ms,
        question_batch=found.embedding,
        summary_batches=tuple(result.batch for result in summaries),
        evidence=None if signals is None else dict(signals),
    )
