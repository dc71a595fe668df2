"""What each passage says about the question: one summary a passage, all at the same time."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from core.errors import EkibenError
from core.ports import Generates
from core.schemas import GenerationItem, GenerationResult, Passage, SearchResponse, Source, Span
from core.settings import AnsweringSettings
from core.telemetry import request_id
from pipelines.answering.stages import Deadline


class Summarizing:
    """Asks a Generator for summaries."""

    def __init__(self, generator: Generates, limits: AnsweringSettings) -> None:
        self._generator = generator
        self._limits = limits

    async def __call__(self, question: str, found: SearchResponse, deadline: Deadline) -> AsyncGenerator[tuple[int, GenerationResult], None]:
        """The summary of each passage with its place, in the order in which they are done; one that is late or fails is an error.

        Closing this cancels those that are not done.
        """
        tasks = [asyncio.create_task(self._summarize(place, question, found, deadline)) for place in range(len(found.passages))]
        try:
            for done in asyncio.as_completed(tasks):
                yield await done
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _summarize(self, place: int, question: str, found: SearchResponse, deadline: Deadline) -> tuple[int, GenerationResult]:
        source = _source(found.passages[place], found.passages)
        try:
            async with deadline.kept():
                return place, await self._generator.summarize(item_of(question, found, (source,), self._limits.summary_sentences))
        except EkibenError as error:
            return place, GenerationResult(error=error.info())


def item_of(question: str, found: SearchResponse, sources: tuple[Source, ...], max_sentences: int) -> GenerationItem:
    """Work for the Generator on `sources`."""
    return GenerationItem(
        question=question,
        sources=sources,
        max_sentences=max_sentences,
        rarity=found.rarity,
        encoder=found.encoder,
        request_id=request_id.get(),
    )


def _source(passage: Passage, passages: Sequence[Passage]) -> Source:
    span = Span(
        document_id=passage.document_id,
        chunk_id=passage.chunk_id,
        collection=passage.collection,
        start=passage.start,
        end=passage.end,
        quote=passage.text,
    )
    return Source(text=passage.text, title=passage.title, span=span, score=_relative(passage, passages))


def _relative(passage: Passage, passages: Sequence[Passage]) -> float:
    """The passage's score against the best one's, in [0, 1], so that it means the same in every mode."""
    best = max(other.score for other in passages)
    return max(0.0, passage.score / best) if best > 0 else 0.0
