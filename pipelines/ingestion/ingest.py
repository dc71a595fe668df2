"""The journey behind `POST /v1/documents`: check, normalize, split, store; a bad document fails alone."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from pydantic import ValidationError

from core.errors import DocumentEmpty, DocumentError, DocumentNotFound, DocumentTooLarge, EncoderChanged, InvalidRequest, RequestError
from core.ports import DescribesEncoder, Stores
from core.schemas import MAX_ID_CHARS, CollectionRef, Document, DocumentRef, DocumentResult, SplitDocument, StageRequest
from core.settings import IngestionSettings
from pipelines.ingestion.normalizing import normalize, normalize_document
from pipelines.ingestion.refusing import Loaded, explain, refuse
from pipelines.ingestion.splitters import Splitters
from pipelines.ingestion.splitting import TokenSplitter

STAGE_CHUNKS = 512
"""Chunks that one call of the store may embed within its deadline."""

_STAGED_AT_ONCE = 256


class IngestDocuments:
    """Stores documents, given as JSON objects or already loaded. One object serves all requests."""

    def __init__(self, store: Stores, encoders: DescribesEncoder, limits: IngestionSettings) -> None:
        self._store = store
        self._limits = limits
        self._splitters = Splitters(encoders, limits)

    async def __call__(self, raw: Sequence[object], collection: str) -> tuple[DocumentResult, ...]:
        """Store the documents that `raw` describes; one result each, in order.

        An object that is no valid document fails with `invalid_request`, `document_empty` or `document_too_large`, and so does the second
        one with the same id. Raises what the store raises; the documents before that are stored already, and a repeat of the same request
        answers `unchanged` for them. Passages of a large document that were embedded before are not embedded again.
        """
        return await self.ingest_documents(await asyncio.to_thread(self._parse, raw), collection)

    async def ingest_documents(self, loaded: Sequence[Loaded], collection: str) -> tuple[DocumentResult, ...]:
        """Store what the loaders made of files, failed results passed through; otherwise as `__call__`."""
        checked = await asyncio.to_thread(self._check, loaded)
        good = [item for item in checked if isinstance(item, Document)]
        stored = await self._store_all(good, collection) if good else []
        return _in_request_order(checked, stored)

    def _parse(self, raw: Sequence[object]) -> list[Loaded]:
        return [self._parse_one(item, index) for index, item in enumerate(raw)]

    def _parse_one(self, item: object, index: int) -> Loaded:
        try:
            self._check_text(item.get("text") if isinstance(item, Mapping) else None)
            return Document.model_validate(item)
        except ValidationError as error:
            return refuse(_name(item, index), InvalidRequest(explain(error)))
        except DocumentError as error:
            return refuse(_name(item, index), error)

    def _check(self, loaded: Sequence[Loaded]) -> list[Loaded]:
        seen: set[str] = set()
        return [self._check_one(item, seen) if isinstance(item, Document) else item for item in loaded]

    def _check_one(self, document: Document, seen: set[str]) -> Loaded:
        """`document` normalized. Its id is taken even where it is refused: which of two is meant is for the sender to say."""
        repeated = document.id in seen
        seen.add(document.id)
        try:
            if repeated:
                raise InvalidRequest(f"id: {document.id!r} occurs twice in this request; send each document once")
            _check_structure(document)
            normalized = normalize_document(document)
            self._check_text(normalized.text)
        except (DocumentError, RequestError) as error:
            return refuse(document.id, error)
        return normalized

    def _check_text(self, text: object) -> None:
        if not isinstance(text, str):
            return  # validation says so better
        if len(text) > self._limits.max_text_chars:
            raise DocumentTooLarge(
                f"text: {len(text)} characters are above the limit of {self._limits.max_text_chars} (ingestion.max_text_chars); split the document"
            )
        if not text.strip():
            raise DocumentEmpty("text: holds nothing but whitespace; leave the document out")

    async def _store_all(self, documents: Sequence[Document], collection: str) -> list[DocumentResult]:
        sizes = (await self._store.collection(CollectionRef(name=collection))).settings
        splitter = await self._splitters.current(sizes)
        stored: list[DocumentResult] = []
        try:
            await self._store_groups(_groups(documents, collection, splitter), splitter, stored)
        except EncoderChanged:
            splitter = await self._splitters.renewed(sizes, splitter)
            await self._store_groups(_groups(documents[len(stored) :], collection, splitter), splitter, stored)
        return stored

    async def _store_groups(self, groups: Iterator[list[SplitDocument]], splitter: TokenSplitter, stored: list[DocumentResult]) -> None:
        """Store one group after the other, and put their results behind those in `stored`."""
        while group := await asyncio.to_thread(next, groups, None):
            for split in group:
                if len(split.chunks) > STAGE_CHUNKS and not await self._is_stored(split):
                    await self._stage(split, splitter)
            stored += await self._store.add(group)

    async def _is_stored(self, split: SplitDocument) -> bool:
        try:
            before = await self._store.get(DocumentRef(id=split.document.id, collection=split.collection))
        except DocumentNotFound:
            return False
        return before.content_hash == await asyncio.to_thread(split.document.hash_content)

    async def _stage(self, split: SplitDocument, splitter: TokenSplitter) -> None:
        texts = await asyncio.to_thread(splitter.passages, split)
        for first in range(0, len(texts), _STAGED_AT_ONCE):
            await self._store.stage(StageRequest(encoder=split.encoder, texts=texts[first : first + _STAGED_AT_ONCE]))


def _groups(documents: Iterable[Document], collection: str, splitter: TokenSplitter) -> Iterator[list[SplitDocument]]:
    """`documents` split, in order, as many together as have at most STAGE_CHUNKS chunks; one with more is alone."""
    group: list[SplitDocument] = []
    chunks = 0
    for document in documents:
        split = SplitDocument(collection=collection, document=document, chunks=splitter.split(document), encoder=splitter.encoder)
        if group and chunks + len(split.chunks) > STAGE_CHUNKS:
            yield group
            group, chunks = [], 0
        group.append(split)
        chunks += len(split.chunks)
    if group:
        yield group


def _in_request_order(checked: Iterable[Loaded], stored: Iterable[DocumentResult]) -> tuple[DocumentResult, ...]:
    results = iter(stored)
    return tuple(next(results) if isinstance(item, Document) else item for item in checked)


def _check_structure(document: Document) -> None:
    length = len(document.text)
    _check_rising("page_starts", document.page_starts, length)
    _check_rising("headings", [heading.start for heading in document.headings], length)
    _check_rising("blocks", [offset for block in document.blocks for offset in (block.start, block.end)], length)


def _check_rising(field: str, offsets: Sequence[int], length: int) -> None:
    """Raise InvalidRequest for the first of `offsets` that lies before the one in front of it or behind the text."""
    for before, offset in pairwise([0, *offsets, length]):
        if before > offset:
            wrong = f"{before} is behind the end of the text" if offset == length else f"{offset} comes after {before}"
            raise InvalidRequest(f"{field}: {wrong}; its offsets have to rise from 0 up to at most {length}, the length of the text")


def _name(item: object, index: int) -> str:
    """The document's id where it has a printable one, else its place in the request."""
    given = item.get("id") if isinstance(item, Mapping) else None
    return (normalize(given)[:MAX_ID_CHARS] if isinstance(given, str) else "") or f"#{index}"
