"""The parts behind the gateway, in memory."""

import functools
from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from core.errors import DocumentNotFound, EkibenError, InvalidRequest
from core.schemas import (
    DeleteResponse,
    DocumentPage,
    DocumentRef,
    DocumentResult,
    DocumentSummary,
    EncoderInfo,
    EncoderSummary,
    GeneratorInfo,
    ListRequest,
    SplitDocument,
    StoredDocument,
    StoreStatus,
)
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
            results.append(DocumentResult.model_validate({"id": one.document.id, "state": state, "chunks": len(one.chunks)}))
        return results

    async def get(self, ref: DocumentRef) -> StoredDocument:
        return _as_stored(self._find(ref))

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
    """Says what it is."""

    def __init__(self) -> None:
        self.failure: EkibenError | None = None

    async def describe(self, timeout_s: float) -> GeneratorInfo:
        if self.failure:
            raise self.failure
        return GeneratorInfo(backend="fake", model="", device="")


def _as_stored(one: SplitDocument) -> StoredDocument:
    content = one.document.model_dump() | {"collection": one.collection, "chunks": len(one.chunks), "added_at": "2026-01-01T00:00:00Z"}
    return StoredDocument.model_validate(content | {"content_hash": one.document.hash_content()})


def _as_row(one: SplitDocument) -> DocumentSummary:
    stored = _as_stored(one)
    return DocumentSummary.model_validate(stored.model_dump(exclude={"text", "page_starts"}) | {"chars": len(stored.text)})
