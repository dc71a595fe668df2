"""The journey behind `POST /v1/documents`: check, normalize, split, store; a bad document fails alone."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from pydantic import ValidationError

from core.errors import DocumentEmpty, DocumentError, DocumentTooLarge, EncoderChanged, InvalidRequest, RequestError
from core.ports import DescribesEncoder, Stores
from core.schemas import MAX_ID_CHARS, Document, DocumentResult, SplitDocument
from core.settings import IngestionSettings
from pipelines.ingestion.normalizing import normalize, normalize_document
from pipelines.ingestion.refusing import Loaded, explain, refuse
from pipelines.ingestion.splitting import TokenSplitter

Prepared = SplitDocument | DocumentResult


class IngestDocuments:
    """Stores documents, given as JSON objects or already loaded. One object serves all requests."""

    def __init__(self, store: Stores, encoders: DescribesEncoder, limits: IngestionSettings) -> None:
        self._store = store
        self._encoders = encoders
        self._limits = limits
        self._splitter: TokenSplitter | None = None
        self._building = asyncio.Lock()

    async def __call__(self, raw: Sequence[object], collection: str) -> tuple[DocumentResult, ...]:
        """Store the documents that `raw` describes; one result each, in order.

        An object that is no valid document fails with `invalid_request`, `document_empty` or `document_too_large`, and so does the second
        one with the same id. Raises what the store raises; then nothing was stored.
        """
        return await self.ingest_documents(await asyncio.to_thread(self._parse, raw), collection)

    async def ingest_documents(self, loaded: Sequence[Loaded], collection: str) -> tuple[DocumentResult, ...]:
        """Store what the loaders made of files, failed results passed through; otherwise as `__call__`."""
        checked = await asyncio.to_thread(self._check, loaded)
        splitter = await self._current_splitter()
        try:
            return await self._split_and_store(checked, collection, splitter)
        except EncoderChanged:
            return await self._split_and_store(checked, collection, await self._replace(splitter))

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
            _check_pages(document)
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

    async def _split_and_store(self, checked: Sequence[Loaded], collection: str, splitter: TokenSplitter) -> tuple[DocumentResult, ...]:
        prepared = await asyncio.to_thread(_split, checked, collection, splitter)
        good = [item for item in prepared if isinstance(item, SplitDocument)]
        stored = await self._store.add(good) if good else ()
        return _in_request_order(prepared, stored)

    async def _current_splitter(self) -> TokenSplitter:
        return self._splitter or await self._replace(None)

    async def _replace(self, outdated: TokenSplitter | None) -> TokenSplitter:
        """The splitter for the running encoder. Of requests that find theirs outdated together, the first one builds it for all."""
        async with self._building:
            if self._splitter is None or self._splitter is outdated:
                encoder = await self._encoders.encoder()
                if self._splitter is None or self._splitter.encoder != encoder.fingerprint:
                    self._splitter = await asyncio.to_thread(TokenSplitter, encoder, self._limits)
            return self._splitter


def _split(checked: Sequence[Loaded], collection: str, splitter: TokenSplitter) -> list[Prepared]:
    return [
        SplitDocument(collection=collection, document=item, chunks=splitter.split(item), encoder=splitter.encoder)
        if isinstance(item, Document)
        else item
        for item in checked
    ]


def _in_request_order(prepared: Iterable[Prepared], stored: Sequence[DocumentResult]) -> tuple[DocumentResult, ...]:
    results = iter(stored)
    return tuple(next(results) if isinstance(item, SplitDocument) else item for item in prepared)


def _check_pages(document: Document) -> None:
    bounds = [0, *document.page_starts, len(document.text)]
    if any(start > end for start, end in pairwise(bounds)):
        raise InvalidRequest(f"page_starts: has to rise from 0 up to at most {len(document.text)}, the length of the text")


def _name(item: object, index: int) -> str:
    """The document's id where it has a printable one, else its place in the request."""
    given = item.get("id") if isinstance(item, Mapping) else None
    return (normalize(given)[:MAX_ID_CHARS] if isinstance(given, str) else "") or f"#{index}"
