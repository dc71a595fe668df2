"""The services behind the gateway, as the ports that the journeys ask for."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from pydantic import TypeAdapter

from core.errors import EkibenError, Internal, NotReady
from core.schemas import (
    AddResponse,
    Collection,
    CollectionChange,
    CollectionDeleted,
    CollectionList,
    CollectionRef,
    Compaction,
    DeleteResponse,
    DocumentPage,
    DocumentRef,
    DocumentResult,
    EmbedItem,
    EmbedResult,
    EncoderInfo,
    GenerationEvent,
    GenerationItem,
    GenerationResult,
    GeneratorInfo,
    ListRequest,
    ReindexStatus,
    SearchRequest,
    SearchResponse,
    ServiceStatus,
    SplitDocument,
    StageRequest,
    StageResponse,
    StoredDocument,
    StoreStatus,
)
from core.version import VERSION
from services.bentoml_runtime import call, is_ready, stream_events

# A dependency is there only after the service has started; the parts are built before.
Dependency = Callable[[], Any]
_GENERATION_EVENT: TypeAdapter[GenerationEvent] = TypeAdapter(GenerationEvent)


class _Part:
    """A service behind the gateway, called within `timeout_s` unless a method takes its own."""

    def __init__(self, dependency: Dependency, timeout_s: float) -> None:
        self._dependency = dependency
        self._timeout_s = timeout_s

    @property
    def _remote(self) -> Any:
        return self._dependency().to_async


class RetrieverPart(_Part):
    """The Retriever as Searches, Stores and DescribesEncoder."""

    async def search(self, request: SearchRequest) -> SearchResponse:
        """See `core.ports.Searches`."""
        return await call("the Retriever", self._remote.search, self._timeout_s, request)

    async def add(self, documents: Sequence[SplitDocument]) -> Sequence[DocumentResult]:
        """See `core.ports.Stores`."""
        response: AddResponse = await call("the Retriever", self._remote.add, self._timeout_s, list(documents))
        return response.documents

    async def stage(self, request: StageRequest) -> StageResponse:
        """See `core.ports.Stores`."""
        return await call("the Retriever", self._remote.stage, self._timeout_s, request)

    async def collection(self, ref: CollectionRef) -> Collection:
        """See `core.ports.Stores`."""
        return await call("the Retriever", self._remote.collection, self._timeout_s, ref)

    async def collections(self) -> CollectionList:
        """All collections."""
        return await call("the Retriever", self._remote.collections, self._timeout_s)

    async def put_collection(self, change: CollectionChange) -> Collection:
        """Create a collection or change its settings; raises CollectionConflict."""
        return await call("the Retriever", self._remote.put_collection, self._timeout_s, change)

    async def delete_collection(self, ref: CollectionRef) -> CollectionDeleted:
        """Remove a collection with all its documents; raises CollectionNotFound."""
        return await call("the Retriever", self._remote.delete_collection, self._timeout_s, ref)

    async def compact(self) -> Compaction:
        """Give the space of deleted documents back to the disk."""
        return await call("the Retriever", self._remote.compact, self._timeout_s)

    async def reindex(self) -> ReindexStatus:
        """Begin to move the index over to the Embedder's newest encoder; raises ReindexConflict. `status` tells how far it is."""
        return await call("the Retriever", self._remote.reindex, self._timeout_s)

    async def delete(self, ref: DocumentRef) -> DeleteResponse:
        """See `core.ports.Stores`."""
        return await call("the Retriever", self._remote.delete, self._timeout_s, ref)

    async def get(self, ref: DocumentRef) -> StoredDocument:
        """See `core.ports.Stores`."""
        return await call("the Retriever", self._remote.get, self._timeout_s, ref)

    async def list(self, request: ListRequest) -> DocumentPage:
        """See `core.ports.Stores`."""
        return await call("the Retriever", self._remote.list_documents, self._timeout_s, request)

    async def encoder(self) -> EncoderInfo:
        """See `core.ports.DescribesEncoder`."""
        return await call("the Retriever", self._remote.encoder, self._timeout_s)

    async def embed(self, items: Sequence[EmbedItem]) -> Sequence[EmbedResult]:
        """Vectors of texts by the encoder that the index belongs to, in order."""
        return await call("the Retriever", self._remote.embed, self._timeout_s, list(items))

    async def status(self, timeout_s: float) -> StoreStatus:
        """What the store holds."""
        return await call("the Retriever", self._remote.status, timeout_s)


class GeneratorPart(_Part):
    """The Generator as Generates. Each call holds one item: the Generator gathers batches over all requests."""

    async def summarize(self, item: GenerationItem) -> GenerationResult:
        """See `core.ports.Generates`."""
        return _single(await call("the Generator", self._remote.summarize, self._timeout_s, [item]))

    async def compose(self, item: GenerationItem) -> GenerationResult:
        """See `core.ports.Generates`."""
        return _single(await call("the Generator", self._remote.compose, self._timeout_s, [item]))

    async def stream(self, item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
        """See `core.ports.Generates`."""
        async with aclosing(stream_events("the Generator", self._dependency(), "/stream", {"item": item.model_dump(mode="json")})) as events:
            async for event in events:
                yield _GENERATION_EVENT.validate_python(event)

    async def describe(self, timeout_s: float) -> GeneratorInfo:
        """What the running backend is."""
        return await call("the Generator", self._remote.describe, timeout_s)

    async def is_ready(self, timeout_s: float) -> bool:
        """Whether it is there, and what its backend needs elsewhere as well."""
        return await is_ready(self._dependency(), timeout_s)


def _single(results: Sequence[GenerationResult]) -> GenerationResult:
    if len(results) != 1:
        raise Internal(f"the Generator gave {len(results)} results for one item")
    return results[0]


async def status_of(retriever: RetrieverPart, generator: GeneratorPart, timeout_s: float) -> ServiceStatus:
    """The state of all parts, within about `timeout_s`."""
    asked = (retriever.status(timeout_s), generator.describe(timeout_s), generator.is_ready(timeout_s))
    store, info, writes = await asyncio.gather(*asked, return_exceptions=True)
    for outcome in (store, info, writes):
        if isinstance(outcome, BaseException) and not isinstance(outcome, EkibenError):
            raise outcome
    problems = [outcome.info() for outcome in (store, info) if isinstance(outcome, EkibenError)]
    if isinstance(store, StoreStatus) and store.problem:
        problems.append(store.problem)
    if isinstance(info, GeneratorInfo) and not writes:
        problems.append(NotReady("the Generator is up, but what its backend needs elsewhere does not answer").info())
    return ServiceStatus(
        version=VERSION,
        ready=not problems,
        store=store if isinstance(store, StoreStatus) else None,
        generator=info if isinstance(info, GeneratorInfo) else None,
        problems=tuple(problems),
    )
