"""Passages, questions and an encoder for the tests of the Generator."""

from collections.abc import Sequence

import numpy as np

from core.schemas import EmbedItem, EmbedResult, GenerationItem, Source, Span
from core.vectors import pack
from core.words import content_words

TEXT = (
    "The Seikan tunnel joins Honshu and Hokkaido. It was opened in March of the year 1988. Trains run under the Tsugaru Strait for half an hour. "
    "The weather on the island is cold in winter."
)
OTHER_TEXT = "Squid stuffed with rice is sold at Mori station. The box costs little money and is eaten cold."
JAPANESE = "駅弁🍱は鉄道駅で売られている弁当。"
DIM = 64


def item(*texts: str, question: str = "When was the tunnel opened?", start: int = 50, max_sentences: int = 3) -> GenerationItem:
    """A passage for each of `texts`, to be summarized."""
    sources = tuple(Source(text=text, span=_span(number, text, start), score=1.0) for number, text in enumerate(texts))
    return GenerationItem(question=question, sources=sources, max_sentences=max_sentences)


def facts(
    *texts: str, scores: Sequence[float] | None = None, question: str = "When was the tunnel opened?", max_sentences: int = 3
) -> GenerationItem:
    """Sentences of summaries, to be composed."""
    sources = tuple(
        Source(text=text, supports=(_span(number, text, 0),), score=scores[number] if scores else 1 - number / 10)
        for number, text in enumerate(texts)
    )
    return GenerationItem(question=question, sources=sources, max_sentences=max_sentences)


def _span(number: int, text: str, start: int) -> Span:
    return Span(document_id=f"doc-{number}", chunk_id=f"doc-{number}#0", collection="default", start=start, end=start + len(text), quote=text)


async def ready(timeout_s: float) -> bool:
    """An Embedder that always is."""
    return timeout_s > 0


async def embed_words(items: Sequence[EmbedItem], fingerprint: str = "words") -> list[EmbedResult]:
    """Unit vectors of DIM numbers that are close where words are shared: a word's direction is drawn from its characters."""
    rows = [sum((_direction(word) for word in content_words(item.text)), np.full(DIM, 1e-3)) for item in items]
    return [EmbedResult(vector=pack((row / np.linalg.norm(row)).astype(np.float32)), tokens=1, fingerprint=fingerprint) for row in rows]


def _direction(word: str) -> np.ndarray:
    return np.random.default_rng(list(word.encode())).standard_normal(DIM)
