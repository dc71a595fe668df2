"""The journey from a question to a cited answer: retrieve, summarize every passage in parallel, decide, compose, verify."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from core.ports import Generates, Searches
from core.schemas import (
    Answer,
    AnswerEvent,
    AnswerRequest,
    CitationsEvent,
    DoneEvent,
    RetrievedEvent,
    SearchRequest,
    SearchResponse,
    SummaryEvent,
    Token,
    TokenEvent,
)
from core.settings import AnsweringSettings, shaping
from pipelines.answering.calibration import Calibration
from pipelines.answering.composition import Composition, checked_sentence, sources_of
from pipelines.answering.draft import Draft
from pipelines.answering.evidence import evidence
from pipelines.answering.stages import Stages
from pipelines.answering.summaries import Summarizing, item_of


class AnswerQuestion:
    """Answers one question at a call; holds no state between calls."""

    def __init__(self, retriever: Searches, generator: Generates, limits: AnsweringSettings, calibration: Calibration) -> None:
        self._retriever = retriever
        self._generator = generator
        self._summaries = Summarizing(generator, limits)
        self._limits = limits
        self._calibration = calibration
        self._threshold = calibration.threshold if limits.min_confidence is None else limits.min_confidence
        self._settings = {**shaping("answering", limits), "answering.calibration": calibration.digest()}

    async def __call__(self, request: AnswerRequest) -> Answer:
        """The answer to `request`. A summary that is late or fails is left out and noted (`degraded`); a failed retrieval is raised.

        The best sentence of the summaries decides how confident the answer is; below the threshold it is withheld, and nothing is composed. Where
        the composition fails, the best sentences of the summaries stand in for it. What no source bears out is left out, see `Composition`.
        """
        async with aclosing(self._events(request, streamed=False)) as events:
            *_, done = [event async for event in events]
        assert isinstance(done, DoneEvent)
        return done.data

    def stream(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent, None]:
        """The same as it is made: `retrieved` first, a `summary` for each passage, `token`s, `citations`, `done` last. Closing it stops the work.

        What fails is raised; a composition that fails when some of its text was sent is a failure.
        """
        return self._events(request, streamed=True)

    async def _events(self, request: AnswerRequest, *, streamed: bool) -> AsyncGenerator[AnswerEvent, None]:
        stages = Stages(self._limits.answer_timeout_s)
        draft = Draft(request, await self._retrieve(request, stages), self._settings)
        stages.done("retrieve")
        yield RetrievedEvent(data=draft.retrieved(stages))
        if draft.found.passages:
            async with aclosing(self._summarize(draft, stages)) as summaries:
                async for summary in summaries:
                    yield summary
            stages.done("summarize")
            self._decide(draft)
        async with aclosing(self._write(draft, stages, streamed=streamed)) as texts:
            async for text in texts:
                if streamed:
                    stages.first_token()
                yield TokenEvent(data=Token(text=text))
        cited = draft.cited()
        yield CitationsEvent(data=cited)
        yield DoneEvent(data=draft.answer(cited, stages))

    async def _retrieve(self, request: AnswerRequest, stages: Stages) -> SearchResponse:
        search = SearchRequest(
            query=request.question,
            top_k=request.top_k,
            mode=request.mode,
            filters=request.filters,
            collections=request.collections,
            rerank=request.rerank,
        )
        async with stages.deadline(self._limits.retrieve_timeout_s, "the retrieval").kept():
            return await self._retriever.search(search)

    async def _summarize(self, draft: Draft, stages: Stages) -> AsyncGenerator[SummaryEvent, None]:
        deadline = stages.deadline(self._limits.summary_timeout_s, "the summary")
        async with aclosing(self._summaries(draft.request.question, draft.found, deadline)) as done:
            async for place, result in done:
                draft.results[place] = result
                yield SummaryEvent(data=draft.summary(place))

    def _decide(self, draft: Draft) -> None:
        """How confident the answer is, by the best sentence that may be cited."""
        marks = self._limits.unverified == "mark"
        heard = (checked_sentence(sentence, draft.found.passages, marks=marks) for result in draft.results for sentence in result.sentences)
        draft.signals = evidence(draft.request.question, draft.found, [sentence for sentence in heard if sentence.supports])
        draft.confidence = None if draft.signals is None else self._calibration.confidence(draft.signals)

    async def _write(self, draft: Draft, stages: Stages, *, streamed: bool) -> AsyncGenerator[str, None]:
        """The text of the answer, composed or withheld."""
        sources = sources_of(draft.results)
        if sources and (draft.confidence is None or draft.confidence >= self._threshold):
            composition = Composition(self._generator, self._limits, draft.found.passages, streamed=streamed)
            item = item_of(draft.request.question, draft.found, sources, self._limits.answer_sentences)
            deadline = stages.deadline(self._limits.compose_timeout_s, "the composition")
            async with aclosing(composition.write(item, draft.results, deadline)) as texts:
                async for text in texts:
                    yield text
            stages.done("compose")
            draft.text, draft.sentences, draft.notes = composition.text, composition.sentences, composition.notes
            draft.composed = composition.result
        if not draft.text:
            yield draft.abstain()
