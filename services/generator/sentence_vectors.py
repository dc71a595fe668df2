"""Vectors of sentences. A passage that was read lately is not embedded again: that is most of the time of an extractive answer."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence

from cachetools import LRUCache

from core.schemas import EmbedItem, EmbedResult
from core.telemetry import SENTENCE_VECTORS
from core.vectors import Vector, unpack

EmbedTexts = Callable[[Sequence[EmbedItem]], Awaitable[Sequence[EmbedResult]]]

# What an entry costs beside its numbers: key, array, and its places in the cache's three dictionaries (360 by
# tracemalloc over 20,000 entries; more to be safe).
_ENTRY_BYTES = 500


class SentenceVectors:
    """Embeds texts, and remembers the vectors of the latest ones in at most `max_bytes` of memory; texts themselves are not kept.

    What is remembered belongs to an encoder's fingerprint. So only items that name the encoder they want are looked up, and what the Embedder
    runs meanwhile doesn't matter for those.
    """

    def __init__(self, embed: EmbedTexts, max_bytes: int) -> None:
        self._embed = embed
        self._known: LRUCache[bytes, Vector] = LRUCache(max_bytes, getsizeof=lambda vector: vector.nbytes + _ENTRY_BYTES)
        self.encoder: str | None = None

    async def __call__(self, items: Sequence[EmbedItem]) -> list[Vector]:
        """A unit vector float32 `[dim]` for each item, in order. `encoder` is the fingerprint of the latest."""
        vectors = [self._known.get(_key(item.encoder, item)) if item.encoder else None for item in items]
        missing = [place for place, vector in enumerate(vectors) if vector is None]
        results = await self._embedded([items[place] for place in missing])
        if len(missing) < len(items) and any(result.fingerprint != items[place].encoder for place, result in zip(missing, results, strict=True)):
            # The Embedder runs another encoder than the index belongs to: what is known of the one can't be compared with vectors of the other.
            missing, results = list(range(len(items))), await self._embedded(items)
        SENTENCE_VECTORS.labels(origin="embedded").inc(len(missing))
        SENTENCE_VECTORS.labels(origin="remembered").inc(len(items) - len(missing))
        for place, result in zip(missing, results, strict=True):
            vectors[place] = self._remember(items[place], result)
        self.encoder = next((result.fingerprint for result in results), items[-1].encoder if items else self.encoder)
        return [vector for vector in vectors if vector is not None]

    async def _embedded(self, items: Sequence[EmbedItem]) -> Sequence[EmbedResult]:
        return await self._embed(items) if items else []

    def _remember(self, item: EmbedItem, result: EmbedResult) -> Vector:
        vector = unpack(result.vector)
        if vector.nbytes + _ENTRY_BYTES <= self._known.maxsize:
            self._known[_key(result.fingerprint, item)] = vector
        return vector


def _key(fingerprint: str, item: EmbedItem) -> bytes:
    return hashlib.blake2b(f"{fingerprint}\0{item.kind}\0{item.text}".encode(), digest_size=16).digest()
