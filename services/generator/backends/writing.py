"""The writing backend: any language model behind the TextEngine port writes summaries and answers; code finds what each sentence rests on."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing

from core.errors import EkibenError, InvalidRequest
from core.schemas import (
    GenerationDone,
    GenerationEvent,
    GenerationItem,
    GenerationResult,
    GenerationSentence,
    GenerationText,
    Sentence,
    Source,
)
from core.words import share, stems
from services.generator.asking import Answered, Asking, in_step
from services.generator.engines.engine import Prompt, TextEngine
from services.generator.prompting import PromptSet
from services.generator.ranking import even, first_of_repeats
from services.generator.reading import Read, ReadSentence, SentenceReader
from services.generator.reducing import reduced
from services.generator.sentences import split_sentences
from services.generator.supports import Grounds
from services.generator.tallying import Tally, tallied

# At and above this share of common words, two sentences of summaries say the same.
_SAME_WORDS = 0.9


class WritingBackend:
    """See the module. `info.settings` names the version of the prompts. A sentence's score is the share of the question's words that it holds."""

    batches_itself = True

    def __init__(self, engine: TextEngine, prompts: PromptSet, *, max_new_tokens: int) -> None:
        self._engine = engine
        self._prompts = prompts
        self._max_new_tokens = max_new_tokens
        self.info = engine.info.model_copy(update={"settings": {**engine.info.settings, "generator.prompts": prompts.version}})

    async def is_ready(self, timeout_s: float) -> bool:
        """Whether the engine's server, where it has one, answers."""
        return await self._engine.is_ready(timeout_s)

    async def summarize(self, items: Sequence[GenerationItem]) -> list[GenerationResult]:
        """What the model writes about each passage, all of a batch in one call; every sentence rests on a sentence of its passage."""
        return await self._results([self._summary(item) for item in items])

    async def compose(self, items: Sequence[GenerationItem]) -> list[GenerationResult]:
        """What the model writes from the sources of each item, repeats and sources that rest on nothing left out, as a tree where they don't fit."""
        return await self._results([self._composition(item) for item in items])

    async def stream(self, item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
        """See `services.generator.backend.Backend`. Where the sources don't fit, only the last composition of the tree is shown."""
        sentences: list[Sentence] = []
        tally = Tally()
        try:
            (sources,) = await in_step([tallied(self._fitting(item), tally)], self._engine.write)
            if isinstance(sources, EkibenError):
                raise sources
            async with aclosing(self._pieces(item, sources, tally)) as pieces:
                async for read in pieces:
                    event = _event(read, item, Grounds.of_facts(sources))
                    sentences += [event.sentence] if isinstance(event, GenerationSentence) else []
                    yield event
        except EkibenError as error:
            yield GenerationDone(result=GenerationResult(error=error.info()))
        else:
            yield GenerationDone(result=GenerationResult(sentences=tuple(sentences), writing=tally.stats()))

    async def _results(self, work: Sequence[Asking[GenerationResult]]) -> list[GenerationResult]:
        tallies = [Tally() for _ in work]
        ended = await in_step([tallied(one, tally) for one, tally in zip(work, tallies, strict=True)], self._engine.write)
        return [
            GenerationResult(error=one.info()) if isinstance(one, EkibenError) else one.model_copy(update={"writing": tally.stats()})
            for one, tally in zip(ended, tallies, strict=True)
        ]

    def _summary(self, item: GenerationItem) -> Asking[GenerationResult]:
        if len(item.sources) != 1 or item.sources[0].span is None:
            raise InvalidRequest("summarize takes one passage with its span an item")
        if not split_sentences(item.sources[0].text):
            return GenerationResult()
        answers = yield [self._prompts.summarize(item, self._max_new_tokens)]
        return _result(answers, item, Grounds.of_passage(item.sources[0]))

    def _composition(self, item: GenerationItem) -> Asking[GenerationResult]:
        sources = yield from self._fitting(item)
        if not sources:
            return GenerationResult()
        answers = yield [self._ask(item, sources, item.max_sentences)]
        return _result(answers, item, Grounds.of_facts(sources))

    def _fitting(self, item: GenerationItem) -> Asking[Sequence[Source]]:
        """The sources of `item` that say something new and rest on something, reduced until they fit a prompt."""
        grounded = [source for source in item.sources if source.supports and source.text.strip()]
        sources = [grounded[index] for index in first_of_repeats([source.text for source in grounded], _SAME_WORDS)]
        return (
            yield from reduced(
                sources,
                self._engine,
                lambda group, limit: self._ask(item, group, limit),
                lambda group, text, limit: _as_sources(text, item, group, limit),
                item.max_sentences,
            )
        )

    def _ask(self, item: GenerationItem, sources: Sequence[Source], max_sentences: int) -> Prompt:
        return self._prompts.compose(item.question, sources, max_sentences, self._max_new_tokens)

    async def _pieces(self, item: GenerationItem, sources: Sequence[Source], tally: Tally) -> AsyncGenerator[Read, None]:
        """What the model writes, read. The engine stops when enough is read, or when this is closed."""
        if not sources:
            return
        reader = SentenceReader(item.max_sentences)
        prompt, written = self._ask(item, sources, item.max_sentences), ""
        async with aclosing(self._engine.stream(prompt)) as pieces:
            async for piece in pieces:
                if not isinstance(piece, str):
                    tally.add([piece])
                    for read in reader.finish():
                        yield read
                    return
                written += piece
                for read in reader.feed(piece):
                    yield read
                if reader.full:
                    tally.add_stopped(self._engine, prompt, written)
                    return


def _event(read: Read, item: GenerationItem, grounds: Grounds) -> GenerationText | GenerationSentence:
    return GenerationText(text=read) if isinstance(read, str) else GenerationSentence(sentence=_sentence(read, item, grounds))


def _sentence(read: ReadSentence, item: GenerationItem, grounds: Grounds) -> Sentence:
    score = share(item.rarity or even(item.question), stems(read.text))
    return Sentence(text=read.text, supports=grounds.supports(read), score=score)


def _sentences(text: str, item: GenerationItem, grounds: Grounds, max_sentences: int) -> Iterator[Sentence]:
    reader = SentenceReader(max_sentences)
    parts: Iterable[Read] = [*reader.feed(text), *reader.finish()]
    return (_sentence(read, item, grounds) for read in parts if isinstance(read, ReadSentence))


def _result(answers: Sequence[Answered], item: GenerationItem, grounds: Grounds) -> GenerationResult:
    (written,) = answers
    if isinstance(written, EkibenError):
        raise written
    return GenerationResult(sentences=tuple(_sentences(written.text, item, grounds, item.max_sentences)))


def _as_sources(text: str, item: GenerationItem, group: Sequence[Source], max_sentences: int) -> list[Source]:
    """The sentences written from a group, for the next level of the tree; those that rest on nothing are left out."""
    sentences = _sentences(text, item, Grounds.of_facts(group), max_sentences)
    return [Source(text=one.text, supports=one.supports, score=one.score) for one in sentences if one.supports]
