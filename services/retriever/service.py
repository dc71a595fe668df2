"""The Retriever: keeps documents, and finds passages by meaning and by words. Takes text; vectors come from the Embedder."""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import bentoml
import numpy as np

from core.errors import EkibenError, EncoderChanged, IndexMismatch, ReindexConflict, UnavailableError
from core.schemas import (
    AddResponse,
    BatchStats,
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
    ListRequest,
    ReindexStatus,
    SearchRequest,
    SearchResponse,
    SplitDocument,
    StageRequest,
    StageResponse,
    StoredDocument,
    StoreStatus,
)
from core.settings import settings, shaping
from core.telemetry import DOCUMENTS, configure_logging
from core.vectors import Vector, unpack
from pipelines.ingestion.window import EncoderWindow
from services.bentoml_runtime import answers_errors, call, is_ready, service_config
from services.border import behind_border
from services.embedder.service import Embedder
from services.retriever.reranking import EmbedderReranks, Reranking
from services.retriever.upkeep import Upkeep

if TYPE_CHECKING:
    from services.retriever.reindexing import Reindexing

_settings = settings()
_config = _settings.retriever
_shaping = shaping("retriever", _config)
T = TypeVar("T")

# Seconds after which a thread lets others compute: a search gives up Python's lock dozens of times, and waits as long each time to have it back.
SWITCH_INTERVAL_S = 0.0005

# Threads for searches alone: as many as the vector index makes together, and none that documents are read and hashed in.
SEARCHES_AT_ONCE = 16

# One call of the Embedder: enough to fill its batches, few enough that little is lost with the process.
GROUP_CHUNKS = 128

log = logging.getLogger("ekiben.retriever")


@bentoml.service(name="Retriever", **service_config(_config.timeout_s))
class Retriever:
    """Stores documents durably and searches them."""

    embedder = bentoml.depends(Embedder, url=_settings.embedder.url)

    def __init__(self) -> None:
        from services.retriever.engine import RetrievalEngine  # noqa: PLC0415 - the gateway imports this module without faiss

        configure_logging(_settings.logging, "retriever")
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        started = time.perf_counter()
        self._engine = RetrievalEngine.open(_config)
        self._writer = ThreadPoolExecutor(1, "writer")
        self._searchers = ThreadPoolExecutor(SEARCHES_AT_ONCE, "search")
        self._upkeep = Upkeep(self._engine.maintain)
        self._info: EncoderInfo | None = None
        self._windows: dict[tuple[str, int | None], EncoderWindow] = {}
        self._reranking = Reranking(EmbedderReranks(lambda: self.embedder, _settings), _config.rerank_candidates)
        self._reindexing: Reindexing | None = None
        self._reindexing_task: asyncio.Task[None] | None = None
        status = self._engine.status()
        fields = {"documents": status.documents, "chunks": status.chunks, "seconds": round(time.perf_counter() - started, 2)}
        log.info("store ready", extra=fields)

    @bentoml.on_shutdown
    def close(self) -> None:
        """Finish what is being written, then let go of the store."""
        if self._reindexing_task is not None:
            self._reindexing_task.cancel()
        self._upkeep.close()
        self._writer.shutdown(wait=True)
        self._searchers.shutdown(wait=True)
        self._engine.close()

    # -- documents ---------------------------------------------------------------------------------------------------------------

    @bentoml.api
    @answers_errors
    async def add(self, documents: list[SplitDocument]) -> AddResponse:
        """Store documents with their chunks. Each is durable, whole, when its result says created or updated; the rest of a batch goes on."""
        info = await self._bound_encoder()
        if any(document.encoder != info.fingerprint for document in documents):
            raise EncoderChanged(f"the documents were not split for the running encoder {info.fingerprint}; split them again")
        results = [result for group in _groups(documents) for result in await self._add_group(group, info)]
        for result in results:
            DOCUMENTS.labels(state=result.state).inc()
        return AddResponse(documents=tuple(results))

    @bentoml.api
    @answers_errors
    async def stage(self, request: StageRequest) -> StageResponse:
        """Embed passages of a document that is added later; what is staged already is not embedded again."""
        info = await self._bound_encoder()
        if request.encoder != info.fingerprint:
            raise EncoderChanged(f"the passages were not made for the running encoder {info.fingerprint}; split the document again")
        staged = await asyncio.to_thread(self._engine.staged, info.fingerprint, request.texts)
        missing = [text for text in dict.fromkeys(request.texts) if text not in staged]
        if missing:
            vectors = await self._embed(_passages(missing), _config.timeout_s)
            await self._write(self._engine.stage, info.fingerprint, missing, vectors)
        return StageResponse(embedded=len(missing))

    @bentoml.api
    @answers_errors
    async def delete(self, ref: DocumentRef) -> DeleteResponse:
        """Remove a document; it can't be found any more when this returns."""
        return await self._write(self._engine.delete, ref)

    @bentoml.api
    @answers_errors
    async def get(self, ref: DocumentRef) -> StoredDocument:
        """A document as stored."""
        return await asyncio.to_thread(self._engine.get, ref)

    @bentoml.api
    @answers_errors
    async def list_documents(self, request: ListRequest) -> DocumentPage:
        """One page of the documents."""
        return await asyncio.to_thread(self._engine.list, request)

    async def _add_group(self, documents: Sequence[SplitDocument], info: EncoderInfo) -> list[DocumentResult]:
        unchanged = await asyncio.to_thread(lambda: [self._engine.is_unchanged(document) for document in documents])
        fresh = [document for document, same in zip(documents, unchanged, strict=True) if not same]
        passages = await asyncio.to_thread(lambda: [self._passages_of(document, info) for document in fresh])
        vectors = await self._embed_passages([text for texts in passages for text in texts], info)
        added = iter([await self._add_one(document, texts, vectors) for document, texts in zip(fresh, passages, strict=True)])
        return [_unchanged(document) if same else next(added) for document, same in zip(documents, unchanged, strict=True)]

    async def _add_one(self, document: SplitDocument, passages: Sequence[str], vectors: Mapping[str, Vector]) -> DocumentResult:
        try:
            rows = np.stack([vectors[text] for text in passages])
            staged = passages if len(passages) > GROUP_CHUNKS else ()
            return await self._write(self._engine.add, document, rows, staged)
        except EkibenError as error:
            log.warning("document not stored", extra={"code": error.code})
            return DocumentResult(id=document.document.id, state="failed", error=error.info())

    async def _embed_passages(self, texts: Sequence[str], info: EncoderInfo) -> dict[str, Vector]:
        """The vectors, float32 `[dim]`, of passages, taken from what is staged where there are many."""
        known = await asyncio.to_thread(self._engine.staged, info.fingerprint, texts) if len(texts) > GROUP_CHUNKS else {}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        return known | dict(zip(missing, await self._embed(_passages(missing), _config.timeout_s), strict=True))

    def _passages_of(self, document: SplitDocument, info: EncoderInfo) -> list[str]:
        """The texts to embed for the chunks of a document."""
        size = self._engine.collection(CollectionRef(name=document.collection)).settings.chunk_tokens
        key = (info.fingerprint, size)
        if key not in self._windows:
            self._windows = {known: window for known, window in self._windows.items() if known[0] == info.fingerprint}
            self._windows[key] = EncoderWindow(info, _settings.ingestion, size)
        window = self._windows[key]
        return [window.passage_text(document.document.title, chunk.headings, chunk.text) for chunk in document.chunks]

    async def _write(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, function, *args)

    # -- search ------------------------------------------------------------------------------------------------------------------

    @bentoml.api
    @answers_errors
    async def search(self, request: SearchRequest) -> SearchResponse:
        """Passages for a query, ordered by the reranker where one runs. Where the Embedder is late or down, a hybrid search goes on with words
        alone, the passages stay in the order they were found in, and the answer says so.
        """
        return await self._reranking.search(request, self._find)

    async def _find(self, request: SearchRequest) -> SearchResponse:
        try:
            return await self._search(request)
        except EncoderChanged:
            # The index moved over to another encoder between the two steps.
            return await self._search(request)

    async def _search(self, request: SearchRequest) -> SearchResponse:
        started = time.perf_counter()
        vector: Vector | None = None
        batch: BatchStats | None = None
        encoder: str | None = None
        made_with = _shaping
        notes: tuple[str, ...] = ()
        if request.mode != "lexical":
            try:
                info = await self._bound_encoder()
                encoder = info.fingerprint
                (result,) = await self._embedded([EmbedItem(text=request.query, kind="query")], _config.embed_timeout_s, info)
                vector, batch = unpack(result.vector), result.batch
                made_with = {**_shaping, "embedder.dtype": result.dtype}
            except UnavailableError as error:
                if request.mode == "dense":
                    raise
                notes = (f"searched by words alone: {error.message}",)
        embedded = time.perf_counter()
        search = partial(copy_context().run, self._engine.search, request, vector, encoder)
        response = await asyncio.get_running_loop().run_in_executor(self._searchers, search)
        timings = {"embed": round((embedded - started) * 1000, 2), **response.timings_ms}
        made = {"encoder": None if vector is None else encoder, "embedding": batch, "settings": made_with}
        return response.model_copy(update={"degraded": bool(notes), "notes": notes, "timings_ms": timings, **made})

    # -- collections and upkeep --------------------------------------------------------------------------------------------------

    @bentoml.api
    @answers_errors
    async def collections(self) -> CollectionList:
        """All collections."""
        return await asyncio.to_thread(self._engine.collections)

    @bentoml.api
    @answers_errors
    async def collection(self, ref: CollectionRef) -> Collection:
        """A collection; one that does not exist yet is as it will be when its first document arrives."""
        return await asyncio.to_thread(self._engine.collection, ref)

    @bentoml.api
    @answers_errors
    async def put_collection(self, change: CollectionChange) -> Collection:
        """Create a collection or change its settings."""
        return await self._write(self._engine.put_collection, change)

    @bentoml.api
    @answers_errors
    async def delete_collection(self, ref: CollectionRef) -> CollectionDeleted:
        """Remove a collection with all its documents."""
        return await self._write(self._engine.delete_collection, ref)

    @bentoml.api
    @answers_errors
    async def compact(self) -> Compaction:
        """Give the space of deleted documents back to the disk."""
        return await self._write(self._engine.compact)

    @bentoml.api
    @answers_errors
    async def reindex(self) -> ReindexStatus:
        """Begin to move the index over to the encoder that the Embedder runs beside, or in the place of, the one it belongs to."""
        if self._reindexing is not None and self._reindexing.running:
            raise ReindexConflict("a reindexing runs already; `ekiben status` tells how far it is")
        bound = await asyncio.to_thread(self._engine.stored_encoder)
        others = [info for info in await self._running_encoders() if bound is None or info.fingerprint != bound.fingerprint]
        if not others:
            raise ReindexConflict(
                "the index belongs to the only encoder that runs: name the next one in embedder.next_model and restart the Embedder"
            )
        target = others[-1]
        from services.retriever.reindexing import Reindexing  # noqa: PLC0415 - see __init__

        self._reindexing = Reindexing(self._engine, target, lambda texts: self._embed_for(target, texts), _settings.ingestion)
        self._reindexing_task = asyncio.create_task(self._run_reindexing(self._reindexing))
        return self._reindexing.status

    async def _run_reindexing(self, reindexing: "Reindexing") -> None:
        if await reindexing.run():
            self._info, self._reindexing = reindexing.target, None

    async def _embed_for(self, target: EncoderInfo, texts: Sequence[str]) -> Vector:
        """Vectors of `texts` by an encoder that is not the index's; some at a time, so that questions are not kept waiting."""
        parts = [await self._embed(_passages(texts[first : first + GROUP_CHUNKS]), _config.timeout_s, target) for first in _starts(texts)]
        return np.concatenate(parts)

    # -- the encoder behind the index --------------------------------------------------------------------------------------------

    @bentoml.api
    @answers_errors
    async def encoder(self) -> EncoderInfo:
        """The encoder that the index belongs to, its tokenizer included."""
        return await self._bound_encoder()

    @bentoml.api
    @answers_errors
    async def embed(self, items: list[EmbedItem]) -> list[EmbedResult]:
        """A unit vector a text, in order, by the encoder that the index belongs to; some at a time, so that questions are not kept waiting."""
        info = await self._bound_encoder()
        groups = [items[first : first + GROUP_CHUNKS] for first in _starts(items)]
        return [result for group in groups for result in await self._embedded(group, _config.timeout_s, info)]

    async def _bound_encoder(self) -> EncoderInfo:
        """The Embedder's encoder that the store is bound to. Raises IndexMismatch where the store belongs to none that runs."""
        # A reindexing exchanges the index first; what is known here follows.
        if self._info is None or not self._engine.belongs_to(self._info):
            running = await self._running_encoders()
            stored = await asyncio.to_thread(self._engine.stored_encoder)
            info = next((one for one in running if stored and one.fingerprint == stored.fingerprint), running[0])
            await self._write(self._engine.bind_encoder, info)
            self._info = info
        return self._info

    async def _running_encoders(self) -> Sequence[EncoderInfo]:
        """The encoders that the Embedder runs: its model's, then its next model's."""
        return await call("the Embedder", self.embedder.to_async.encoders, _config.embed_timeout_s)

    async def _embed(self, texts: Sequence[EmbedItem], timeout_s: float, wanted: EncoderInfo | None = None) -> Vector:
        """Unit vectors float32 `[n, dim]`, checked to come from `wanted`, or from the bound encoder."""
        expected = wanted or self._info
        if not texts or expected is None:
            return np.empty((0, expected.dim if expected else 0), np.float32)
        return np.stack([unpack(result.vector) for result in await self._embedded(texts, timeout_s, expected)])

    async def _embedded(self, texts: Sequence[EmbedItem], timeout_s: float, expected: EncoderInfo) -> Sequence[EmbedResult]:
        items = [item.model_copy(update={"encoder": expected.fingerprint}) for item in texts]
        results: list[EmbedResult] = await call("the Embedder", self.embedder.to_async.embed, timeout_s, items)
        strangers = {result.fingerprint for result in results} - {expected.fingerprint}
        if strangers:
            self._info = None
            raise IndexMismatch(f"the Embedder now runs encoder {strangers.pop()}, the index belongs to {expected.fingerprint}")
        return results

    # -- state -------------------------------------------------------------------------------------------------------------------

    @bentoml.api
    @answers_errors
    async def status(self) -> StoreStatus:
        """What the store holds, and why it can't answer where it can't."""
        status = await asyncio.to_thread(self._engine.status)
        if self._reindexing is not None:
            status = status.model_copy(update={"reindex": self._reindexing.status})
        try:
            info = await self._bound_encoder()
        except EkibenError as error:
            return status.model_copy(update={"problem": error.info()})
        return status.model_copy(update={"encoder": info.summary(), "reranker": await self._reranking.reranker()})

    async def __is_ready__(self) -> bool:
        """Ready when the Embedder is, the index belongs to its encoder, and it is known whether there is a reranker."""
        if not await is_ready(self.embedder, _settings.runtime.probe_timeout_s):
            return False
        try:
            await self._bound_encoder()
            await self._reranking.ask()
        except EkibenError as error:
            log.error(error.message, extra={"code": error.code})
            return False
        return True


def _groups(documents: Sequence[SplitDocument]) -> Iterator[list[SplitDocument]]:
    """Documents that are embedded in one call, so that those of the group before are stored while the rest waits."""
    group: list[SplitDocument] = []
    for document in documents:
        if group and sum(len(one.chunks) for one in [*group, document]) > GROUP_CHUNKS:
            yield group
            group = []
        group.append(document)
    if group:
        yield group


def _starts(texts: Sequence[object]) -> range:
    return range(0, len(texts), GROUP_CHUNKS)


def _passages(texts: Sequence[str]) -> list[EmbedItem]:
    return [EmbedItem(text=text, bulk=True) for text in texts]


def _unchanged(document: SplitDocument) -> DocumentResult:
    return DocumentResult(id=document.document.id, state="unchanged", chunks=len(document.chunks))


behind_border(Retriever, _settings.gateway.max_body_bytes)
