"""The text of an answer, as it is written and checked."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from core.errors import EkibenError, error_from
from core.ports import Generates
from core.schemas import (
    GenerationDone,
    GenerationEvent,
    GenerationItem,
    GenerationResult,
    GenerationSentence,
    GenerationText,
    Passage,
    Sentence,
    Source,
)
from core.settings import AnsweringSettings
from pipelines.answering.citations import borne_out
from pipelines.answering.stages import Deadline


class Composition:
    """One answer. While `write` yields its text, `sentences` and `notes` grow; `text` is what was yielded so far. `result` is the Generator's,
    once it is there.

    A sentence that no source bears out is left out, and with the setting `unverified: remove` one that its citations don't bear out as well. So text
    is yielded a sentence at a time, when the sentence has been checked. The exception is a stream with `unverified: mark`: its text is yielded as the
    model writes it, so a sentence without a source can't be taken back. It stays, without a citation, and is noted.
    """

    def __init__(self, generator: Generates, limits: AnsweringSettings, passages: Sequence[Passage], *, streamed: bool) -> None:
        self._generator = generator
        self._marks = limits.unverified == "mark"
        self._max_sentences = limits.answer_sentences
        self._passages = passages
        self._streamed = streamed
        self._unsupported = 0
        self._failure: str | None = None
        self.sentences: list[Sentence] = []
        self.text = ""
        self.result = GenerationResult()

    @property
    def notes(self) -> list[str]:
        """What went wrong."""
        what = "no source bears out were sent" if self._as_written else "no source bears out were left out"
        notes = [f"sentences that {what}: {self._unsupported}"] if self._unsupported else []
        return [*notes, *([f"the best sentences of the summaries stand in for a composed answer: {self._failure}"] if self._failure else [])]

    @property
    def _as_written(self) -> bool:
        return self._streamed and self._marks and self._failure is None

    async def write(self, item: GenerationItem, summaries: Sequence[GenerationResult], deadline: Deadline) -> AsyncGenerator[str, None]:
        """The text, piece by piece. What fails when some of it is there is raised; before, the best sentences of `summaries` stand in for it."""
        events = self._stream(item) if self._streamed else self._compose(item)
        try:
            async with aclosing(deadline.each(events)) as written:
                async for event in written:
                    if text := self._take(event):
                        self.text += text
                        yield text
        except EkibenError as error:
            if self.text:
                raise
            self._failure = error.message
        if self._failure is not None:
            self._unsupported = 0
            for sentence in best_sentences(summaries, self._max_sentences):
                if text := self._take_sentence(sentence):
                    self.text += text
                    yield text

    async def _compose(self, item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
        self.result = await self._generator.compose(item)
        for sentence in _sentences_of(self.result):
            yield GenerationSentence(sentence=sentence)

    async def _stream(self, item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
        """What the Generator streams. A backend that tells sentences with its result only, tells them here as well."""
        told, silent = 0, True
        async with aclosing(self._generator.stream(item)) as events:
            async for event in events:
                if not isinstance(event, GenerationDone):
                    told += isinstance(event, GenerationSentence)
                    silent &= not isinstance(event, GenerationText)
                    yield event
                    continue
                self.result = event.result
                untold = _sentences_of(self.result)[told:]
                if silent:
                    yield GenerationText(text=" ".join(sentence.text for sentence in untold))
                for sentence in untold:
                    yield GenerationSentence(sentence=sentence)

    def _take(self, event: GenerationEvent) -> str:
        """The text to send for `event`."""
        match event:
            case GenerationText():
                return (event.text if self.text else event.text.lstrip()) if self._as_written else ""
            case GenerationSentence():
                return self._take_sentence(event.sentence)
            case GenerationDone():
                return ""

    def _take_sentence(self, sentence: Sentence) -> str:
        checked = checked_sentence(sentence, self._passages, marks=self._marks)
        self._unsupported += not checked.supports
        if not checked.supports and not self._as_written:
            return ""
        self.sentences.append(checked)
        if self._as_written:
            return ""
        return f" {checked.text}" if len(self.sentences) > 1 else checked.text


def checked_sentence(sentence: Sentence, passages: Sequence[Passage], *, marks: bool) -> Sentence:
    """`sentence` with the spans that may be cited: those that bear it out, or all where `marks` says that the others are marked."""
    return sentence if marks else borne_out(sentence, passages)


def sources_of(summaries: Sequence[GenerationResult]) -> tuple[Source, ...]:
    """What an answer is composed of: the sentences of all summaries."""
    return tuple(Source(text=one.text, supports=one.supports, score=one.score) for summary in summaries for one in summary.sentences)


def best_sentences(summaries: Sequence[GenerationResult], count: int) -> list[Sentence]:
    """The `count` sentences with the highest scores, best first."""
    return sorted((sentence for summary in summaries for sentence in summary.sentences), key=lambda sentence: -sentence.score)[:count]


def _sentences_of(result: GenerationResult) -> tuple[Sentence, ...]:
    """Raises the error in `result`."""
    if result.error is not None:
        raise error_from(result.error)
    return result.sentences
