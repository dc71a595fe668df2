"""The Retriever: keeps documents, and finds passages by meaning and by words. Takes text; vectors come from the Embedder."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import bentoml
import numpy as np

from core.errors import EkibenError, EncoderChanged, IndexMismatch, UnavailableError
from core.schemas import (
    AddResponse,
    DeleteResponse,
    DocumentPage,
    DocumentRef,
    DocumentResult,
    EmbedItem,
    EncoderInfo,
    ListRequest,
    SearchRequest,
    SearchResponse,
    SplitDocument,
    StoredDocument,
    StoreStatus,
)
from core.settings import settings
from core.telemetry import DOCUMENTS, configure_logging
from core.vectors import Vector, unpack
from pipelines.ingestion.window import EncoderWindow
from services.bentoml_runtime import answers_errors, call, is_ready, service_config
from services.border import behind_border
from services.embedder.service import Embedder

_settings = settings()
_config = _settings.retriever
T = TypeVar("T")

log = logging.getLogger("ekiben.retriever")


@bentoml.service(name="Retriever", **service_config(_config.timeout_s))
class Retriever:
    """Stores documents durably and searches them."""

    embedder = bentoml.depends(Embedder, url=_settings.embedder.url)

    def __init__(self) -> None:
        from services.retriever.engine import RetrievalEngine  # noqa: PLC0415 - the gateway imports this module without faiss

        configure_logging(_settings.logging, "retriever")
        started = time.perf_counter()
        self._engine = RetrievalEngine.open(_config)
        self._writer = ThreadPoolExecutor(1, "writer")
        self._info: EncoderInfo | None = None
        self._window: EncoderWindow | None = None
        status = self._engine.status()
        fields = {"documents": status.documents, "chunks": status.chunks, "seconds": round(time.perf_counter() - started, 2)}
        log.info("store ready", extra=fields)

    @bentoml.on_shutdown
    def close(self) -> None:
        """Finish what is being written, then let go of the store."""
        self._writer.shutdown(wait=True)
        self._engine.close()

    # -- documents ---------------------------------------------------------------------------------------------------------------

    @bentoml.api
    @answers_errors
    async def add(self, documents: list[SplitDocument]) -> AddResponse:
        """Store documents with their chunks. Each is durable, whole, when its result says created or updated; the rest of a batch goes on."""
        info = await self._bound_encoder()
        if any(document.encoder != info.fingerprint for document in documents):
            raise EncoderChanged(f"the documents were not split for the running encoder {info.fingerprint}; split them again")
        unchanged = await asyncio.to_thread(lambda: [self._engine.is_unchanged(document) for document in documents])
        fresh = [document for document, same in zip(documents, unchanged, strict=True) if not same]
        vectors = iter(await self._embed_chunks(fresh, info))
        results = [
            _unchanged(document) if same else await self._add_one(document, next(vectors))
            for document, same in zip(documents, unchanged, strict=True)
        ]
        for result in results:
            DOCUMENTS.labels(state=result.state).inc()
        return AddResponse(documents=tuple(results))

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

    async def _add_one(self, document: SplitDocument, vectors: Vector) -> DocumentResult:
        try:
            return await self._write(self._engine.add, document, vectors)
        except EkibenError as error:
            log.warning("document not stored", extra={"code": error.code})
            return DocumentResult(id=document.document.id, state="failed", error=error.info())

    async def _embed_chunks(self, documents: Sequence[SplitDocument], info: EncoderInfo) -> list[Vector]:
        """The vectors of each document's chunks, float32 `[n, dim]`, all asked for in one call."""
        window = self._window_of(info)
        texts = [EmbedItem(text=window.passage_text(one.document.title, chunk.text)) for one in documents for chunk in one.chunks]
        rows = await self._embed(texts, _config.timeout_s)
        counts = np.cumsum([len(one.chunks) for one in documents])[:-1]
        return list(np.split(rows, counts)) if documents else []

    def _window_of(self, info: EncoderInfo) -> EncoderWindow:
        if self._window is None or self._window.encoder != info.fingerprint:
            self._window = EncoderWindow(info, _settings.ingestion)
        return self._window

    async def _write(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, function, *args)

    # -- search ------------------------------------------------------------------------------------------------------------------

    @bentoml.api
    @answers_errors
    async def search(self, request: SearchRequest) -> SearchResponse:
        """Passages for a query. Where the Embedder is late or down, a hybrid search goes on with words alone and says so."""
        started = time.perf_counter()
        vector: Vector | None = None
        notes: tuple[str, ...] = ()
        if request.mode != "lexical":
            try:
                await self._bound_encoder()
                vector = (await self._embed([EmbedItem(text=request.query, kind="query")], _config.embed_timeout_s))[0]
            except UnavailableError as error:
                if request.mode == "dense":
                    raise
                notes = (f"searched by words alone: {error.message}",)
        embedded = time.perf_counter()
        response = await asyncio.to_thread(self._engine.search, request, vector)
        timings = {"embed": round((embedded - started) * 1000, 2), **response.timings_ms}
        return response.model_copy(update={"degraded": bool(notes), "notes": notes, "timings_ms": timings})

    # -- the encoder behind the index --------------------------------------------------------------------------------------------

    @bentoml.api
    @answers_errors
    async def encoder(self) -> EncoderInfo:
        """The encoder that the index belongs to, its tokenizer included."""
        return await self._bound_encoder()

    async def _bound_encoder(self) -> EncoderInfo:
        """The Embedder's encoder, bound to the store. Raises IndexMismatch where the store belongs to another one."""
        if self._info is None:
            info = await call("the Embedder", self.embedder.to_async.describe, _config.embed_timeout_s)
            await self._write(self._engine.bind_encoder, info)
            self._info = info
        return self._info

    async def _embed(self, texts: Sequence[EmbedItem], timeout_s: float) -> Vector:
        """Unit vectors float32 `[n, dim]`, checked to come from the bound encoder."""
        if not texts:
            return np.empty((0, 0), np.float32)
        results = await call("the Embedder", self.embedder.to_async.embed, timeout_s, list(texts))
        expected = self._info.fingerprint if self._info else None
        strangers = {result.fingerprint for result in results} - {expected}
        if strangers:
            self._info = None
            raise IndexMismatch(f"the Embedder now runs encoder {strangers.pop()}, the index belongs to {expected}")
        return np.stack([unpack(result.vector) for result in results])

    # -- state -------------------------------------------------------------------------------------------------------------------

    @bentoml.api
    @answers_errors
    async def status(self) -> StoreStatus:
        """What the store holds, and why it can't answer where it can't."""
        status = await asyncio.to_thread(self._engine.status)
        try:
            info = await self._bound_encoder()
        except EkibenError as error:
            return status.model_copy(update={"problem": error.info()})
        return status.model_copy(update={"encoder": info.summary()})

    async def __is_ready__(self) -> bool:
        """Ready when the Embedder is and the index belongs to its encoder."""
        if not await is_ready(self.embedder, _settings.runtime.probe_timeout_s):
            return False
        try:
            await self._bound_encoder()
        except EkibenError as error:
            log.error(error.message, extra={"code": error.code})
            return False
        return True


def _unchanged(document: SplitDocument) -> DocumentResult:
    return DocumentResult(id=document.document.id, state="unchanged", chunks=len(document.chunks))


behind_border(Retriever, _settings.gateway.max_body_bytes)
