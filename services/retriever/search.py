"""One search: which channels are asked, how their candidates are ranked, and what is fetched to be shown."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from core.errors import DependencyUnavailable
from core.schemas import ChannelRanks, ChannelScores, Mode, Passage, SearchRequest
from core.settings import RetrieverSettings
from core.vectors import Vector, rounded
from core.words import is_english
from services.retriever import fusion, passages
from services.retriever.fusion import Scores
from services.retriever.passages import FoundChunk
from services.retriever.schema import ChunkIds
from services.retriever.scope import scope_of
from services.retriever.vector_index import VectorIndex
from services.retriever.word_index import WordIndex


@dataclass
class Search:
    """A query put to one committed state of the store. `vector` (float32 `[dim]`, unit) is None where the query could not be embedded."""

    request: SearchRequest
    vector: Vector | None
    snapshot: sqlite3.Connection
    index: VectorIndex | None
    words: WordIndex
    settings: RetrieverSettings
    timings_ms: dict[str, float] = field(default_factory=dict)

    def passages(self) -> tuple[Passage, ...]:
        """The best `request.top_k` passages, fewer where fewer match; raises DependencyUnavailable for a dense search without a vector."""
        mode = self._mode()
        with self._timed("filter"):
            scope = scope_of(self.snapshot, self.request.collections, self.request.filters)
            allowed = scope.chunk_ids(self.snapshot) if scope else None
        dense = self._ask_dense(allowed) if mode != "lexical" else {}
        words = self._ask_lexical(allowed, also=list(dense)) if mode != "dense" else {}
        weight = self._dense_weight(words)
        with self._timed("fuse"):
            if self.vector is not None and mode != "dense":
                dense = {**dense, **self._cosines([chunk for chunk in words if chunk not in dense], self.vector)}
            dense = {chunk: rounded(cosine) for chunk, cosine in dense.items()}
            scores = self._ranked(mode, dense, words, weight)
            order = fusion.ranked(scores)
            in_dense, in_words, fused = (_places(ranking) for ranking in (fusion.ranked(dense), fusion.ranked(words), order))
        with self._timed("fetch"):
            found = dict(islice(self._existing(order), self.request.top_k))
        return tuple(
            chunk.passage(
                scores[id_],
                ChannelScores(dense=dense.get(id_), lexical=None if mode == "dense" else words.get(id_, 0.0)),
                ChannelRanks(dense=in_dense.get(id_), lexical=in_words.get(id_), fused=fused[id_]),
            )
            for id_, chunk in found.items()
        )

    @cached_property
    def rarity(self) -> dict[str, float]:
        """See `WordIndex.rarity`."""
        with self._timed("rarity"):
            return self.words.rarity(self.snapshot, self.request.query)

    def _mode(self) -> Mode:
        """The mode asked for, or what is left of it without a vector."""
        if self.vector is not None or self.request.mode == "lexical":
            return self.request.mode
        if self.request.mode == "hybrid":
            return "lexical"
        raise DependencyUnavailable(
            "the query could not be embedded, and mode 'dense' has nothing else to search with: try mode 'hybrid' or 'lexical'"
        )

    def _ask_dense(self, allowed: ChunkIds | None) -> Scores:
        if self.index is None or self.vector is None:
            return {}
        with self._timed("dense"):
            # What an index tells of their cosines depends on how it came to them: by 8 bits a number, or together with other searches.
            found = self._cosines(list(self.index.search(self.vector, self._candidates, allowed)), self.vector)
            return {chunk: found[chunk] for chunk in fusion.ranked(found)}

    def _cosines(self, chunks: Sequence[int], vector: Vector) -> Scores:
        """From the vector index as far as it has them, which may be a change behind; the vector of a chunk never changes."""
        known = self.index.cosines(chunks, vector) if self.index else {}
        unknown = [chunk for chunk in chunks if chunk not in known]
        return {**known, **passages.cosines(self.snapshot, unknown, vector)} if unknown else known

    def _ask_lexical(self, allowed: ChunkIds | None, also: Sequence[int]) -> Scores:
        with self._timed("lexical"):
            return self.words.search(self.snapshot, self.request.query, self._candidates, allowed, also)

    @property
    def _candidates(self) -> int:
        return max(self.settings.candidates, self.request.top_k)

    def _ranked(self, mode: Mode, dense: Scores, words: Scores, weight: float) -> Scores:
        """The scores that order the passages."""
        if mode == "dense":
            return dense
        if mode == "lexical":
            return words
        if self.settings.fusion == "rrf":
            return fusion.rrf([fusion.ranked(dense), fusion.ranked(words)], self.settings.rrf_k)
        return fusion.convex(dense, words, weight)

    def _dense_weight(self, words: Scores) -> float:
        """In other languages than English the words carry the search, however few of them are found: the encoder knows less."""
        if not is_english(self.request.query):
            return self.settings.dense_weight
        return fusion.dense_share(self.settings.dense_weight, self.settings.dense_weight_gain, words, self.rarity)

    def _existing(self, order: Sequence[int]) -> Iterator[tuple[int, FoundChunk]]:
        """Chunks in `order`, read as they are asked for; one that the vector index knows and the snapshot doesn't is passed over."""
        for start in range(0, len(order), self.request.top_k):
            part = order[start : start + self.request.top_k]
            rows = passages.fetch(self.snapshot, part)
            yield from ((chunk, rows[chunk]) for chunk in part if chunk in rows)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Add the time of the block to its stage."""
        start = time.perf_counter()
        yield
        self.timings_ms[stage] = self.timings_ms.get(stage, 0.0) + (time.perf_counter() - start) * 1_000


def _places(ranking: Sequence[int]) -> dict[int, int]:
    return {chunk: rank for rank, chunk in enumerate(ranking, start=1)}
