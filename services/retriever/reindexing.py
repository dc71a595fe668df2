"""Moves the index over to another encoder: fills a second store beside the one that answers, then lets it take its place."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from core.errors import DocumentNotFound, EkibenError, ErrorInfo, Internal
from core.schemas import CollectionRef, DocumentRef, EncoderInfo, ReindexStatus, SplitDocument, StoredDocument
from core.settings import IngestionSettings
from core.vectors import Vector
from pipelines.ingestion.splitters import Splitters
from pipelines.ingestion.splitting import TokenSplitter
from services.retriever.differing import Differences, differences
from services.retriever.engine import RetrievalEngine
from services.retriever.store import DocumentStore

Embed = Callable[[Sequence[str]], Awaitable[Vector]]
"""Unit vectors, float32 `[n, dim]`, of passages, by the encoder that the index moves over to."""

log = logging.getLogger("ekiben.retriever")


class Reindexing:
    """One reindexing. What it has done is kept when it fails or the process ends; the next one for the same encoder goes on from there."""

    def __init__(self, engine: RetrievalEngine, target: EncoderInfo, embed: Embed, limits: IngestionSettings) -> None:
        self.target = target
        self._engine = engine
        self._embed = embed
        self._splitters = Splitters(_Described(target), limits)
        self._done = self._total = 0
        self._error: ErrorInfo | None = None
        self.running = True

    @property
    def status(self) -> ReindexStatus:
        """How far it is."""
        return ReindexStatus(
            state="failed" if self._error else "running",
            target=self.target.fingerprint,
            documents_done=self._done,
            documents_total=self._total,
            error=self._error,
        )

    async def run(self) -> bool:
        """Embed all documents and let the new store take over; True when it has. Errors are in `status` and in the log."""
        beside: DocumentStore | None = None
        taken = False
        try:
            beside = await asyncio.to_thread(self._engine.open_beside, self.target)
            taken = await self._fill_until_taken(beside)
            log.info("reindexed", extra={"fingerprint": self.target.fingerprint, "documents": self._total})
        except EkibenError as error:
            self._error = error.info()
            log.error("reindexing failed", extra={"code": error.code, "error": error.message})
        finally:
            self.running = False
            if beside is not None and not taken:
                beside.close()
        return taken

    async def _fill_until_taken(self, beside: DocumentStore) -> bool:
        while True:
            await asyncio.to_thread(beside.take_collections, self._engine.collections())
            found = await asyncio.to_thread(differences, self._engine.store, beside)
            await self._even_out(beside, found)
            # Documents that change all the time would keep it from ever being even; each round is shorter than the one before.
            if await asyncio.to_thread(self._engine.become, beside, self.target):
                return True

    async def _even_out(self, beside: DocumentStore, found: Differences) -> None:
        for ref in found.surplus:
            await asyncio.to_thread(beside.delete, ref)
        self._done, self._total = 0, len(found.missing)
        for ref in found.missing:
            await self._move(ref, beside)
            self._done += 1

    async def _move(self, ref: DocumentRef, beside: DocumentStore) -> None:
        settings = (await asyncio.to_thread(self._engine.collection, CollectionRef(name=ref.collection))).settings
        splitter = await self._splitters.current(settings)
        try:
            stored = await asyncio.to_thread(self._engine.get, ref)
        except DocumentNotFound:
            return  # deleted meanwhile
        split = await asyncio.to_thread(_split, stored, splitter)
        passages = splitter.passages(split)
        vectors = await self._embed(passages)
        if vectors.shape != (len(passages), self.target.dim):
            raise Internal(f"the encoder gave vectors {vectors.shape} for {len(passages)} passages of dim {self.target.dim}")
        await asyncio.to_thread(beside.put, split, vectors, (), stored.added_at)


class _Described:
    """The target as DescribesEncoder."""

    def __init__(self, encoder: EncoderInfo) -> None:
        self._encoder = encoder

    async def encoder(self) -> EncoderInfo:
        """See `core.ports.DescribesEncoder`."""
        return self._encoder


def _split(stored: StoredDocument, splitter: TokenSplitter) -> SplitDocument:
    document = stored.as_sent()
    return SplitDocument(collection=stored.collection, document=document, chunks=splitter.split(document), encoder=splitter.encoder)
