"""What the journeys need of the world, as protocols. Services and tests bring the implementations."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from core.schemas import (
    Chunk,
    Collection,
    CollectionRef,
    DeleteResponse,
    Document,
    DocumentPage,
    DocumentRef,
    DocumentResult,
    EncoderInfo,
    GenerationEvent,
    GenerationItem,
    GenerationResult,
    ListRequest,
    RerankerInfo,
    RerankItem,
    RerankResult,
    SearchRequest,
    SearchResponse,
    SplitDocument,
    StageRequest,
    StageResponse,
    StoredDocument,
)


class Searches(Protocol):
    """Finds passages."""

    async def search(self, request: SearchRequest) -> SearchResponse:
        """Passages for a query, best first."""


class Reranks(Protocol):
    """Scores passages by reading each together with the question."""

    async def reranker(self) -> RerankerInfo | None:
        """The running reranker; None where there is none."""

    async def rerank(self, items: Sequence[RerankItem]) -> Sequence[RerankResult]:
        """One result a pair, in order. An error of one pair comes back in its result; what befalls the whole call is raised."""


class Stores(Protocol):
    """Keeps documents. What `add` returns as created, updated or unchanged is durable."""

    async def add(self, documents: Sequence[SplitDocument]) -> Sequence[DocumentResult]:
        """Store each document with its chunks, whole or not at all; one result a document, in order."""

    async def stage(self, request: StageRequest) -> StageResponse:
        """Embed passages of a document that is added later; what is staged already is not embedded again."""

    async def collection(self, ref: CollectionRef) -> Collection:
        """A collection; one that does not exist yet is as it will be when its first document arrives."""

    async def delete(self, ref: DocumentRef) -> DeleteResponse:
        """Remove a document; raises DocumentNotFound."""

    async def get(self, ref: DocumentRef) -> StoredDocument:
        """A document as stored; raises DocumentNotFound."""

    async def list(self, request: ListRequest) -> DocumentPage:
        """One page of the documents, by collection and id."""


class DescribesEncoder(Protocol):
    """Knows the encoder behind the index."""

    async def encoder(self) -> EncoderInfo:
        """The running encoder, its tokenizer included."""


class Splits(Protocol):
    """Cuts documents into chunks."""

    encoder: str

    def split(self, document: Document) -> tuple[Chunk, ...]:
        """Chunks in reading order, each within the encoder's window."""


class Generates(Protocol):
    """Writes summaries and answers. An error of one item comes back in its result; what befalls the whole call is raised."""

    async def summarize(self, item: GenerationItem) -> GenerationResult:
        """What one passage says about the question."""

    async def compose(self, item: GenerationItem) -> GenerationResult:
        """An answer from the sentences of all summaries."""

    def stream(self, item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
        """`compose` as it is written: texts, each sentence as it is complete, the result last. What fails is raised; closing it stops the work."""
