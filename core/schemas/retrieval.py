"""Searches and the passages they find."""

from typing import Annotated, Self

from pydantic import Field, StrictBool, model_validator

from core.schemas.batches import BatchStats
from core.schemas.fields import DEFAULT_COLLECTION, DEFAULT_TOP_K, CollectionName, Frozen, MetadataKey, Mode, Question, Scalar, Setting, TopK


class Range(Frozen):
    """A bound on a metadata value; numbers compare as numbers, strings by code point."""

    gt: Scalar | None = None
    gte: Scalar | None = None
    lt: Scalar | None = None
    lte: Scalar | None = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.gt is None and self.gte is None and self.lt is None and self.lte is None:
            raise ValueError("a range needs at least one of gt, gte, lt, lte")
        return self


Filter = Scalar | Annotated[list[Scalar], Field(min_length=1, max_length=1_000)] | Range
Filters = Annotated[dict[MetadataKey, Filter], Field(max_length=16)]


class RetrievalOptions(Frozen):
    """What search and answer have in common. `rerank` says whether a reranker, where one runs, orders the passages."""

    top_k: TopK = DEFAULT_TOP_K
    mode: Mode = "hybrid"
    filters: Filters = {}
    collections: Annotated[list[CollectionName], Field(min_length=1, max_length=64)] = [DEFAULT_COLLECTION]
    rerank: StrictBool = True


class SearchRequest(RetrievalOptions):
    """Body of `POST /v1/search`."""

    query: Question


class ChannelScores(Frozen):
    """What each channel says of a passage: cosine in [-1, 1], BM25 (0 where no word of the query occurs), and the reranker's score in [0, 1];
    None where it didn't run.
    """

    dense: float | None = None
    lexical: float | None = None
    rerank: float | None = None


class ChannelRanks(Frozen):
    """Where a passage stands among the candidates of each channel, from 1; None where the channel doesn't know it or didn't run. `fused` is its rank
    by the score that the channels make together, before a reranker.
    """

    dense: int | None = None
    lexical: int | None = None
    fused: int | None = None


class Passage(Frozen):
    """A found chunk. `score` orders the list: the reranker's score where one ordered it, else cosine (dense), BM25 (lexical) or the fused score
    (hybrid).
    """

    document_id: str
    chunk_id: str
    collection: str
    title: str
    start: int
    end: int
    text: str
    page: int | None = None
    headings: tuple[str, ...] = ()
    metadata: dict[str, Scalar] = {}
    score: float
    scores: ChannelScores
    ranks: ChannelRanks = ChannelRanks()


class SearchResponse(Frozen):
    """Passages, best first. `degraded` is true where a channel or the reranker could not be asked; `notes` says which.

    `rarity` holds the stems of the query's content words with their inverse document frequency over the chunks of the store, above 0.
    `encoder` is the fingerprint of what embedded the query, None where nothing did, and `embedding` tells of its batch. `settings` are those that
    shape the ranking, by full name.
    """

    passages: tuple[Passage, ...]
    degraded: bool = False
    notes: tuple[str, ...] = ()
    index_version: int = 0
    rarity: dict[str, float] = {}
    encoder: str | None = None
    embedding: BatchStats | None = None
    settings: dict[str, Setting] = {}
    timings_ms: dict[str, float] = {}
