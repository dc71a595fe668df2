"""The parts behind the gateway, in memory."""

import functools
from collections.abc import AsyncGenerator, Sequence

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from core.errors import CollectionNotFound, DocumentNotFound, EkibenError, InvalidRequest
from core.schemas import (
    ChannelScores,
    Collection,
    CollectionChange,
    CollectionDeleted,
    CollectionList,
    CollectionRef,
    CollectionSettings,
    Compaction,
    DeleteResponse,
    DocumentPage,
    DocumentRef,
    DocumentResult,
    DocumentSummary,
    EmbedItem,
    EmbedResult,
    EncoderInfo,
    EncoderSummary,
    GenerationDone,
    GenerationEvent,
    GenerationItem,
    GenerationResult,
    GenerationSentence,
    GeneratorInfo,
    ListRequest,
    Passage,
    ReindexStatus,
    SearchRequest,
    SearchResponse,
    Sentence,
    SplitDocument,
    StageRequest,
    StageResponse,
    StoredDocument,
    StoreStatus,
)
from core.vectors import pack
from services.gateway.parts import GeneratorPart, RetrieverPart


@functools.cache
def encoder_info() -> EncoderInfo:
    """An encoder that counts words."""
    tokenizer = Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return EncoderInfo(
        fingerprint="encoder-a",
        model="model-a",
        dim=8,
        max_tokens=256,
        pooling="mean",
        weights_sha256="0" * 64,
        device="cpu",
        dtype="float32",
        tokenizer_json=tokenizer.to_str(),
    )


class FakeRetriever(RetrieverPart):
    """Keeps documents in a dictionary. `failure` is raised by every call where it is set."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], SplitDocument] = {}
        self.failure: EkibenError | None = None
        self.settings: dict[str, CollectionSettings] = {}
        self.order: list[str] = []
        self.embedded: list[EmbedItem] = []

    def _check(self) -> None:
        if self.failure:
            raise self.failure

    async def add(self, documents: Sequence[SplitDocument]) -> Sequence[DocumentResult]:
        self._check()
        results = []
        for one in documents:
            key = (one.collection, one.document.id)
            state = "unchanged" if self.stored.get(key) == one else "updated" if key in self.stored else "created"
            self.stored[key] = one
            self.order.append(one.document.id)
            results.append(DocumentResult.model_validate({"id": one.document.id, "state": state, "chunks": len(one.chunks)}))
        return results

    async def get(self, ref: DocumentRef) -> StoredDocument:
        return _as_stored(self._find(ref))

    async def stage(self, request: StageRequest) -> StageResponse:
        self._check()
        return StageResponse(embedded=len(request.texts))

    async def collection(self, ref: CollectionRef) -> Collection:
        self._check()
        documents = sum(collection == ref.name for collection, _ in self.stored)
        settings = self.settings.get(ref.name, CollectionSettings())
        return Collection(name=ref.name, settings=settings, documents=documents, chunks=documents, created_at="2026-01-01T00:00:00Z")

    async def collections(self) -> CollectionList:
        names = sorted({*self.settings, *(collection for collection, _ in self.stored)})
        return CollectionList(collections=tuple([await self.collection(CollectionRef(name=name)) for name in names]))

    async def put_collection(self, change: CollectionChange) -> Collection:
        self.settings[change.name] = change.settings
        return await self.collection(CollectionRef(name=change.name))

    async def delete_collection(self, ref: CollectionRef) -> CollectionDeleted:
        if ref.name not in {one.name for one in (await self.collections()).collections}:
            raise CollectionNotFound(f"there is no collection {ref.name!r}")
        self.settings.pop(ref.name, None)
        gone = [key for key in self.stored if key[0] == ref.name]
        for key in gone:
            del self.stored[key]
        return CollectionDeleted(name=ref.name, documents=len(gone), chunks=len(gone))

    async def compact(self) -> Compaction:
        self._check()
        return Compaction(bytes_before=2, bytes_after=1, vectors_dropped=0)

    async def reindex(self) -> ReindexStatus:
        self._check()
        return ReindexStatus(state="running", target="encoder-b", documents_done=0, documents_total=len(self.stored))

    async def delete(self, ref: DocumentRef) -> DeleteResponse:
        found = self._find(ref)
        del self.stored[ref.collection, ref.id]
        return DeleteResponse(id=ref.id, collection=ref.collection, chunks=len(found.chunks))

    async def list(self, request: ListRequest) -> DocumentPage:
        self._check()
        if request.cursor and not request.cursor.isdecimal():
            raise InvalidRequest(f"cursor: {request.cursor!r} is none of ours")
        start = int(request.cursor or 0)
        found = [one for (collection, _), one in sorted(self.stored.items()) if request.collection in (None, collection)]
        following = str(start + request.limit) if start + request.limit < len(found) else None
        return DocumentPage(documents=tuple(map(_as_row, found[start : start + request.limit])), next=following)

    async def encoder(self) -> EncoderInfo:
        self._check()
        return encoder_info()

    async def embed(self, items: Sequence[EmbedItem]) -> Sequence[EmbedResult]:
        self._check()
        self.embedded.extend(items)
        one = np.eye(1, encoder_info().dim, dtype=np.float32)[0]
        return [EmbedResult(vector=pack(one), tokens=len(item.text.split()), fingerprint="encoder-a") for item in items]

    async def search(self, request: SearchRequest) -> SearchResponse:
        """One passage, which says where it looked."""
        self._check()
        text = f"The bridge in {request.collections[0]} was opened in 1931."
        passage = Passage(
            document_id="bridge",
            chunk_id="bridge#0",
            collection=request.collections[0],
            title="",
            start=0,
            end=len(text),
            text=text,
            score=1.0,
            scores=ChannelScores(lexical=1.0),
        )
        return SearchResponse(passages=(passage,))

    async def status(self, timeout_s: float) -> StoreStatus:
        self._check()
        encoder = EncoderSummary.model_validate(encoder_info().summary())
        return StoreStatus(documents=len(self.stored), chunks=0, collections={}, index_version=1, encoder=encoder)

    def _find(self, ref: DocumentRef) -> SplitDocument:
        self._check()
        if (ref.collection, ref.id) not in self.stored:
            raise DocumentNotFound(f"there is no document {ref.id!r} in {ref.collection!r}")
        return self.stored[ref.collection, ref.id]


class FakeGenerator(GeneratorPart):
    """Says what it is, and repeats what it is given to read. `failure_midway` ends streams after their first sentence."""

    def __init__(self) -> None:
        self.failure: EkibenError | None = None
        self.failure_midway: EkibenError | None = None
        self.ready = True

    async def is_ready(self, timeout_s: float) -> bool:
        return self.ready

    async def summarize(self, item: GenerationItem) -> GenerationResult:
        (source,) = item.sources
        assert source.span is not None
        return GenerationResult(sentences=(Sentence(text=source.text, supports=(source.span,), score=1.0),))

    async def compose(self, item: GenerationItem) -> GenerationResult:
        return GenerationResult(sentences=tuple(Sentence(text=source.text, supports=source.supports) for source in item.sources))

    async def stream(self, item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
        result = await self.compose(item)
        for sentence in result.sentences:
            yield GenerationSentence(sentence=sentence)
        if self.failure_midway:
            raise self.failure_midway
        yield GenerationDone(result=result)

    async def describe(self, timeout_s: float) -> GeneratorInfo:
        if self.failure:
            raise self.failure
        return GeneratorInfo(backend="fake", model="", device="")


def _as_stored(one: SplitDocument) -> StoredDocument:
    content = one.document.model_dump() | {"collection": one.collection, "chunks": len(one.chunks), "added_at": "2026-01-01T00:00:00Z"}
    return StoredDocument.model_validate(content | {"content_hash": one.document.hash_content()})


def _as_row(one: SplitDocument) -> DocumentSummary:
    stored = _as_stored(one)
    return DocumentSummary.model_validate(stored.model_dump(exclude={"text", "page_starts", "headings", "blocks"}) | {"chars": len(stored.text)})
