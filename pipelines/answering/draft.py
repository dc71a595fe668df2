"""What is known of an answer while it is made, and the answer made of it."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.schemas import (
    Answer,
    AnswerDebug,
    AnswerRequest,
    Cited,
    Conditions,
    GenerationResult,
    IndexedSummary,
    Passage,
    Retrieved,
    SearchResponse,
    Sentence,
    Setting,
    Summary,
    TokenUsage,
)
from core.telemetry import ANSWERS
from core.version import VERSION
from pipelines.answering.citations import cite, with_highlights
from pipelines.answering.evidence import Evidence
from pipelines.answering.stages import Stages

NOT_FOUND = "The documents do not answer this question."
NOT_READ = "None of the passages found could be summarized, so nothing is known about what they answer; the notes say why."


@dataclass
class Draft:
    """An answer to `request` from the passages `found`. `results` has a place for each passage, filled as its summary is done; `settings` are those
    of the journey that shape it. `composed` is what the Generator made of them, empty where it was not asked. No `text` means that the answer is
    withheld.
    """

    request: AnswerRequest
    found: SearchResponse
    settings: Mapping[str, Setting]
    results: list[GenerationResult] = field(default_factory=list)
    signals: Evidence | None = None
    confidence: float | None = None
    sentences: Sequence[Sentence] = ()
    text: str = ""
    composed: GenerationResult = field(default_factory=GenerationResult)
    notes: Sequence[str] = ()
    id: str = field(default_factory=lambda: f"ans_{uuid.uuid4().hex}")

    def __post_init__(self) -> None:
        self.results = [GenerationResult()] * len(self.found.passages)

    def retrieved(self, stages: Stages) -> Retrieved:
        """The passages, before anything is made of them."""
        found = self.found
        return Retrieved(id=self.id, passages=found.passages, degraded=found.degraded, notes=found.notes, timings_ms=dict(stages.milliseconds))

    def summary(self, place: int) -> IndexedSummary:
        """The summary of the passage at `place`."""
        return IndexedSummary(index=place, summary=_summary(self.found.passages[place], self.results[place]))

    def abstain(self) -> str:
        """Give the text of an answer that says nothing."""
        failed = bool(self.results) and all(result.error for result in self.results)
        self.text, self.sentences = NOT_READ if failed else NOT_FOUND, ()
        return self.text

    def cited(self) -> Cited:
        """The sentences with their citations; in those of the best sentence the short answer is marked."""
        best = max(range(len(self.sentences)), key=lambda number: self.sentences[number].score, default=0)
        citations = with_highlights(cite(self.sentences, self.found.passages), best, self.request.question, self.found.rarity)
        return Cited(sentences=tuple(sentence.text for sentence in self.sentences), citations=citations)

    def answer(self, cited: Cited, stages: Stages) -> Answer:
        """The answer; counts it."""
        passages = self.found.passages
        failed = [f"no summary of {one.chunk_id}: {result.error.message}" for one, result in zip(passages, self.results, strict=True) if result.error]
        degraded = self.found.degraded or bool(failed) or bool(self.notes)
        abstained = not self.sentences
        ANSWERS.labels(outcome="abstained" if abstained else "degraded" if degraded else "answered").inc()
        return Answer(
            id=self.id,
            question=self.request.question,
            answer=self.text,
            sentences=cited.sentences,
            abstained=abstained,
            confidence=self.confidence,
            degraded=degraded,
            notes=(*self.found.notes, *failed, *self.notes),
            citations=cited.citations,
            passages=passages,
            summaries=tuple(_summary(passage, result) for passage, result in zip(passages, self.results, strict=True)),
            timings_ms=stages.total(),
            usage=self._usage(),
            conditions=self._conditions(),
            debug=self._debug() if self.request.debug else None,
        )

    def _usage(self) -> TokenUsage | None:
        written = [result.writing for result in (*self.results, self.composed) if result.writing]
        if not written:
            return None
        return TokenUsage(prompt_tokens=sum(one.prompt_tokens for one in written), new_tokens=sum(one.new_tokens for one in written))

    def _conditions(self) -> Conditions:
        return Conditions(
            version=VERSION,
            index_version=self.found.index_version,
            encoder=self.found.encoder,
            generator=next((result.generator for result in self.results if result.generator), None),
            settings={**self.found.settings, **self.settings},
        )

    def _debug(self) -> AnswerDebug:
        return AnswerDebug(
            index_version=self.found.index_version,
            retrieval_ms=self.found.timings_ms,
            question_batch=self.found.embedding,
            summary_batches=tuple(result.batch for result in self.results),
            summary_writing=tuple(result.writing for result in self.results),
            compose_batch=self.composed.batch,
            compose_writing=self.composed.writing,
            evidence=None if self.signals is None else dict(self.signals),
        )


def _summary(passage: Passage, result: GenerationResult) -> Summary:
    return Summary(document_id=passage.document_id, chunk_id=passage.chunk_id, text=result.text, error=result.error)
