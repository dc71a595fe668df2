"""The extractive backend: quotes the sentences that answer best. Needs an encoder, no generative model, and can't invent."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import InvalidRequest
from core.schemas import (
    EmbedItem,
    GenerationDone,
    GenerationEvent,
    GenerationItem,
    GenerationResult,
    GenerationSentence,
    GenerationText,
    GeneratorInfo,
    Sentence,
    Source,
)
from core.vectors import Vector
from services.generator.ranking import even, jaccard, maximal_marginal_relevance, relevance
from services.generator.sentence_vectors import SentenceVectors
from services.generator.sentences import Extent, quote, split_sentences

# At and above these, two sentences say the same: overlapping chunks hold some sentences twice. A changed number or name stays below.
_SAME_COSINE = 0.99
_SAME_WORDS = 0.9


@dataclass(frozen=True)
class _Candidates:
    """An item with the sentences it may quote, and where its question and the first of them stand among all texts."""

    item: GenerationItem
    source: Source
    sentences: list[Extent]
    question: int
    first: int


class ExtractiveBackend:
    """See the module. All sentences of a batch are embedded in one call, each question once."""

    batches_itself = False

    def __init__(self, vectors: SentenceVectors, mmr_lambda: float, embedder_is_ready: Callable[[float], Awaitable[bool]]) -> None:
        self._vectors = vectors
        self._embedder_is_ready = embedder_is_ready
        self._mmr_lambda = mmr_lambda

    @property
    def info(self) -> GeneratorInfo:
        """What compares sentences: the encoder of the latest batch."""
        return GeneratorInfo(backend="extractive", model="", device="", encoder=self._vectors.encoder)

    async def is_ready(self, timeout_s: float) -> bool:
        """Whether the encoder is there."""
        return await self._embedder_is_ready(timeout_s)

    async def summarize(self, items: Sequence[GenerationItem]) -> list[GenerationResult]:
        """The sentences of each passage that answer best, least repeating (MMR over sentence vectors), in reading order."""
        texts = list(dict.fromkeys(_question(item) for item in items))
        places = {question: place for place, question in enumerate(texts)}
        found = [_candidates(item, places[_question(item)], texts) for item in items]
        vectors = await self._vectors(texts)
        return [self._pick(one, vectors) if isinstance(one, _Candidates) else one for one in found]

    async def compose(self, items: Sequence[GenerationItem]) -> list[GenerationResult]:
        """The best of all summaries' sentences, without near-repeats (MMR over shared words), in the order of their passages."""
        return [self._compose(item) for item in items]

    async def stream(self, item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
        """See `services.generator.backend.Backend`. All sentences are there at once."""
        result = self._compose(item)
        for number, sentence in enumerate(result.sentences):
            yield GenerationText(text=f" {sentence.text}" if number else sentence.text)
            yield GenerationSentence(sentence=sentence)
        yield GenerationDone(result=result)

    def _pick(self, found: _Candidates, vectors: Sequence[Vector]) -> GenerationResult:
        if not found.sentences:
            return GenerationResult()
        own = np.stack(vectors[found.first : found.first + len(found.sentences)])
        texts = [sentence.text for sentence in found.sentences]
        scores = relevance(found.item.rarity or even(found.item.question), texts, own @ vectors[found.question], found.source.score)
        count = found.item.max_sentences
        chosen = maximal_marginal_relevance(scores, lambda a, b: float(own[a] @ own[b]), count, self._mmr_lambda, _SAME_COSINE)
        return GenerationResult(sentences=tuple(_quote(found, index, float(scores[index])) for index in sorted(chosen)))

    def _compose(self, item: GenerationItem) -> GenerationResult:
        sources = item.sources
        scores = np.array([source.score for source in sources], dtype=np.float32)
        count = item.max_sentences
        chosen = maximal_marginal_relevance(scores, lambda a, b: jaccard(sources[a].text, sources[b].text), count, self._mmr_lambda, _SAME_WORDS)
        picked = [sources[index] for index in sorted(chosen)]
        return GenerationResult(sentences=tuple(Sentence(text=source.text, supports=source.supports, score=source.score) for source in picked))


def _question(item: GenerationItem) -> EmbedItem:
    return EmbedItem(text=item.question, kind="query", encoder=item.encoder)


def _candidates(item: GenerationItem, question: int, texts: list[EmbedItem]) -> _Candidates | GenerationResult:
    """What `item` may quote, its sentences added to `texts`, among which its question is number `question`; or its error."""
    if len(item.sources) != 1 or item.sources[0].span is None:
        return GenerationResult(error=InvalidRequest("summarize takes one passage with its span an item").info())
    source = item.sources[0]
    found = _Candidates(item, source, split_sentences(source.text), question, len(texts))
    texts += [EmbedItem(text=sentence.text, encoder=item.encoder) for sentence in found.sentences]
    return found


def _quote(found: _Candidates, index: int, score: float) -> Sentence:
    """Sentence number `index`, word for word."""
    assert found.source.span is not None  # checked where the item came in
    return Sentence(text=found.sentences[index].text, supports=(quote(found.source.span, found.sentences, index),), score=score)
