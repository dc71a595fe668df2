import asyncio
import threading
from collections.abc import Sequence

import pytest

from core.errors import DependencyUnavailable, DocumentEmpty, DocumentNotFound, EncoderChanged, StorageFull
from core.schemas import (
    Chunk,
    Collection,
    CollectionRef,
    CollectionSettings,
    DeleteResponse,
    Document,
    DocumentPage,
    DocumentRef,
    DocumentResult,
    EncoderInfo,
    ListRequest,
    SplitDocument,
    StageRequest,
    StageResponse,
    StoredDocument,
)
from pipelines.ingestion.ingest import STAGE_CHUNKS, IngestDocuments
from pipelines.ingestion.refusing import refuse
from pipelines.ingestion.splitting import TokenSplitter


class MemoryStore:
    """A store that keeps what it is given. `failures` are raised by the first calls of `add`, one each; None lets a call pass."""

    def __init__(self, *failures: Exception | None, sizes: dict[str, CollectionSettings] | None = None) -> None:
        self.failures = list(failures)
        self.sizes = sizes or {}
        self.calls: list[tuple[SplitDocument, ...]] = []
        self.staged: list[StageRequest] = []
        self.asked: list[str] = []
        self.kept: dict[str, SplitDocument] = {}

    async def add(self, documents: Sequence[SplitDocument]) -> Sequence[DocumentResult]:
        self.calls.append(tuple(documents))
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        return [self._keep(item) for item in documents]

    def _keep(self, item: SplitDocument) -> DocumentResult:
        before = self.kept.get(item.document.id)
        self.kept[item.document.id] = item
        same = before is not None and before.document.hash_content() == item.document.hash_content()
        return DocumentResult(id=item.document.id, state="unchanged" if same else "created", chunks=len(item.chunks))

    async def stage(self, request: StageRequest) -> StageResponse:
        self.staged.append(request)
        return StageResponse(embedded=len(request.texts))

    async def collection(self, ref: CollectionRef) -> Collection:
        self.asked.append(ref.name)
        settings = self.sizes.get(ref.name, CollectionSettings())
        return Collection(name=ref.name, settings=settings, documents=0, chunks=0, created_at="2025-01-01T00:00:00Z")

    async def delete(self, ref: DocumentRef) -> DeleteResponse:
        raise NotImplementedError

    async def get(self, ref: DocumentRef) -> StoredDocument:
        if ref.id not in self.kept:
            raise DocumentNotFound(f"no document {ref.id!r}")
        item = self.kept[ref.id]
        stored = {"collection": ref.collection, "content_hash": item.document.hash_content(), "chunks": len(item.chunks), "added_at": "now"}
        return StoredDocument.model_validate(item.document.model_dump() | stored)

    async def list(self, request: ListRequest) -> DocumentPage:
        raise NotImplementedError


class ChangedStore(MemoryStore):
    """A store whose encoder is now `new`."""

    async def add(self, documents: Sequence[SplitDocument]) -> Sequence[DocumentResult]:
        if any(document.encoder != "new" for document in documents):
            raise EncoderChanged("the model changed")
        return await super().add(documents)


class Encoders:
    """Describes one encoder after the other, then the last one for ever."""

    def __init__(self, *encoders: EncoderInfo) -> None:
        self.encoders = list(encoders)
        self.asked = 0

    async def encoder(self) -> EncoderInfo:
        self.asked += 1
        await asyncio.sleep(0)
        return self.encoders.pop(0) if len(self.encoders) > 1 else self.encoders[0]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def ingest(store, encoder, limits) -> IngestDocuments:
    return IngestDocuments(store, Encoders(encoder), limits)


def codes(results: Sequence[DocumentResult]) -> list[str | None]:
    return [result.error.code if result.error else None for result in results]


def heading(start: int, level: int = 1) -> dict[str, object]:
    return {"start": start, "level": level, "text": "Heading"}


def block(start: int, end: int) -> dict[str, object]:
    return {"start": start, "end": end, "kind": "table"}


def words(chunks: int) -> str:
    """A text that the splitter of `limits` cuts into about as many chunks."""
    return "Ten words, each of them one token, make a sentence. " * (2 * chunks)


async def test_a_document_is_split_and_stored_in_its_collection(ingest, store, encoder):
    [result] = await ingest([{"id": "a", "title": "Ekiben", "text": "A boxed meal. " * 40, "metadata": {"year": 1885}}], "meals")
    kept = store.kept["a"]
    assert (result.state, result.chunks) == ("created", len(kept.chunks))
    assert len(kept.chunks) > 1
    assert (kept.collection, kept.encoder) == ("meals", encoder.fingerprint)
    assert kept.document == Document(id="a", title="Ekiben", text="A boxed meal. " * 40, metadata={"year": 1885})


async def test_a_bad_document_fails_alone_and_in_its_place(ingest, store):
    raw = [{"id": "a", "text": "good"}, {"id": "b"}, 7, {"id": "c", "text": "good"}, {"id": "d", "text": " \n"}]
    results = await ingest(raw, "default")
    assert [result.id for result in results] == ["a", "b", "#2", "c", "d"]
    assert codes(results) == [None, "invalid_request", "invalid_request", None, "document_empty"]
    assert list(store.kept) == ["a", "c"]
    assert len(store.calls) == 1


@pytest.mark.parametrize(
    ("raw", "name", "code", "said"),
    [
        ({"text": "t"}, "#0", "invalid_request", "id: Field required"),
        ({"id": 5, "text": "t"}, "#0", "invalid_request", "id: "),
        ({"id": "", "text": "t"}, "#0", "invalid_request", "id: "),
        ({"id": "a\nb", "text": "t"}, "a\nb", "invalid_request", "id: "),
        ({"id": "\ud800", "text": "t"}, "\ufffd", "invalid_request", "id: "),
        ({"id": "a" * 9_999, "text": "t"}, "a" * 512, "invalid_request", "id: "),
        ({"id": "a", "text": 3}, "a", "invalid_request", "text: "),
        ({"id": "a", "text": "\ud83d"}, "a", "invalid_request", "lone surrogate"),
        ({"id": "a", "text": "t", "body": "t"}, "a", "invalid_request", "body: "),
        ({"id": "a", "text": "t", "metadata": {"x": float("nan")}}, "a", "invalid_request", "metadata.x: "),
        ({"id": "a", "text": "t", "metadata": {"x": [1]}}, "a", "invalid_request", "metadata.x: "),
        ({"id": "a", "text": "t", "page_starts": [0, 5]}, "a", "invalid_request", "page_starts: "),
        ({"id": "a", "text": "text", "page_starts": [2, 1]}, "a", "invalid_request", "page_starts: "),
        ({"id": "a", "text": "text", "page_starts": [-1]}, "a", "invalid_request", "page_starts: -1 comes after 0; its offsets have to rise"),
        ({"id": "a", "text": "text", "headings": [heading(5)]}, "a", "invalid_request", "headings: 5 is behind the end of the text; "),
        ({"id": "a", "text": "text", "headings": [heading(2), heading(1)]}, "a", "invalid_request", "headings: 1 comes after 2; "),
        ({"id": "a", "text": "text", "headings": [heading(0, level=0)]}, "a", "invalid_request", "headings.0.level: "),
        ({"id": "a", "text": "text", "blocks": [block(0, 5)]}, "a", "invalid_request", "blocks: 5 is behind the end of the text; "),
        ({"id": "a", "text": "text", "blocks": [block(3, 2)]}, "a", "invalid_request", "blocks: 2 comes after 3; "),
        ({"id": "a", "text": "text", "blocks": [block(0, 3), block(2, 4)]}, "a", "invalid_request", "blocks: 2 comes after 3; "),
        ({"id": "a", "text": ""}, "a", "document_empty", "text: "),
        ({"id": "a", "text": "\x00\ufeff\x01"}, "a", "document_empty", "text: "),
        ({"id": "a", "text": "x" * 500_001}, "a", "document_too_large", "500001 characters are above the limit of 500000"),
        (None, "#0", "invalid_request", "dictionary"),
        ([], "#0", "invalid_request", "dictionary"),
    ],
)
async def test_each_fault_is_named_with_its_field(ingest, store, raw, name, code, said):
    [result] = await ingest([raw], "default")
    assert (result.id, result.state, result.error.code) == (name, "failed", code)
    assert said in result.error.message
    assert not store.calls


async def test_the_second_of_two_same_ids_is_refused(ingest, store):
    results = await ingest([{"id": "a", "text": "one"}, {"id": "a", "text": "two"}, {"id": "b", "text": "three"}], "default")
    assert codes(results) == [None, "invalid_request", None]
    assert "twice" in results[1].error.message
    assert store.kept["a"].document.text == "one"


async def test_the_text_is_normalized_before_it_is_cut(ingest, store):
    await ingest([{"id": "a", "text": "\ufeffcafe\u0301\r\n\r\nnext page", "page_starts": [0, 10]}], "default")
    kept = store.kept["a"]
    assert kept.document.text == "café\n\nnext page"
    assert kept.document.page_starts == (0, 6)
    assert all(kept.document.text[chunk.start : chunk.end] == chunk.text for chunk in kept.chunks)


async def test_loaded_documents_share_the_journey_and_failures_pass_through(ingest, store):
    failed = refuse("notes.jsonl:2", DocumentEmpty("blank"))
    results = await ingest.ingest_documents([Document(id="a", text="one"), failed, Document(id="a", text="two")], "default")
    assert codes(results) == [None, "document_empty", "invalid_request"]
    assert results[1] is failed
    assert list(store.kept) == ["a"]


async def test_nothing_good_is_no_call_to_the_store(ingest, store):
    assert codes(await ingest([{}], "default")) == ["invalid_request"]
    assert await ingest([], "default") == ()
    assert not store.calls


async def test_the_encoder_is_asked_once_however_many_requests_start_together(store, encoder, limits):
    encoders = Encoders(encoder)
    ingest = IngestDocuments(store, encoders, limits)
    await asyncio.gather(*(ingest([{"id": str(n), "text": "t"}], "default") for n in range(5)))
    await ingest([{"id": "later", "text": "t"}], "default")
    assert encoders.asked == 1
    assert len(store.calls) == 6


async def test_a_changed_encoder_is_fetched_and_the_documents_split_for_it(encoder, limits):
    store = MemoryStore(EncoderChanged("the model changed"))
    narrow = encoder.model_copy(update={"fingerprint": "new", "max_tokens": 16})
    encoders = Encoders(encoder, narrow)
    ingest = IngestDocuments(store, encoders, limits)
    [result] = await ingest([{"id": "a", "text": "word " * 100}], "default")
    before, after = (call[0] for call in store.calls)
    assert (before.encoder, after.encoder) == (encoder.fingerprint, "new")
    assert len(after.chunks) > len(before.chunks)
    assert result.chunks == len(after.chunks)
    await ingest([{"id": "b", "text": "t"}], "default")
    assert encoders.asked == 2


async def test_requests_that_meet_a_change_together_ask_once(encoder, limits):
    store = ChangedStore()
    encoders = Encoders(encoder, encoder.model_copy(update={"fingerprint": "new"}))
    ingest = IngestDocuments(store, encoders, limits)
    await ingest._splitters.current(CollectionSettings())
    await asyncio.gather(*(ingest([{"id": str(n), "text": "t"}], "default") for n in range(3)))
    assert encoders.asked == 2


async def test_an_encoder_that_changes_again_is_the_callers_turn(encoder, limits):
    store = MemoryStore(EncoderChanged("once"), EncoderChanged("twice"))
    with pytest.raises(EncoderChanged, match="twice"):
        await IngestDocuments(store, Encoders(encoder), limits)([{"id": "a", "text": "t"}], "default")
    assert len(store.calls) == 2


async def test_what_befalls_the_store_is_raised(encoder, limits):
    with pytest.raises(StorageFull):
        await IngestDocuments(MemoryStore(StorageFull("disk")), Encoders(encoder), limits)([{"id": "a", "text": "t"}], "default")


async def test_a_collection_with_sizes_of_its_own_is_split_by_them(encoder, limits):
    store = MemoryStore(sizes={"wide": CollectionSettings(chunk_tokens=200, overlap_tokens=0)})
    encoders = Encoders(encoder)
    ingest = IngestDocuments(store, encoders, limits)
    [narrow] = await ingest([{"id": "a", "text": words(20)}], "default")
    [wide] = await ingest([{"id": "a", "text": words(20)}], "wide")
    assert wide.chunks * 4 < narrow.chunks
    assert store.asked == ["default", "wide"]
    assert encoders.asked == 1


async def test_documents_go_to_the_store_in_groups_that_one_call_can_embed(ingest, store):
    raw = [{"id": str(n), "text": words(chunks)} for n, chunks in enumerate([150, 200, 100, 300, 1, 1])]
    raw.insert(2, {"id": "bad"})
    results = await ingest(raw, "default")
    assert [result.id for result in results] == ["0", "1", "bad", "2", "3", "4", "5"]
    assert [result.chunks for result in results if not result.error] == [len(item.chunks) for call in store.calls for item in call]
    sizes = [sum(len(item.chunks) for item in call) for call in store.calls]
    assert len(sizes) > 1
    assert max(sizes) <= STAGE_CHUNKS
    assert all(size + len(after[0].chunks) > STAGE_CHUNKS for size, after in zip(sizes, store.calls[1:], strict=False))
    assert store.asked == ["default"]
    assert not store.staged


async def test_a_large_document_is_staged_slice_by_slice_before_it_is_added_alone(ingest, store, encoder, limits):
    results = await ingest([{"id": "a", "text": "small"}, {"id": "b", "title": "Big", "text": words(900)}, {"id": "c", "text": "small"}], "default")
    assert [[item.document.id for item in call] for call in store.calls] == [["a"], ["b"], ["c"]]
    assert results[1].chunks > STAGE_CHUNKS
    assert max(len(request.texts) for request in store.staged) <= 256
    window = TokenSplitter(encoder, limits).window
    passages = [window.passage_text("Big", chunk.headings, chunk.text) for chunk in store.kept["b"].chunks]
    assert [text for request in store.staged for text in request.texts] == passages
    assert {request.encoder for request in store.staged} == {encoder.fingerprint}


async def test_a_large_document_that_is_stored_already_is_not_staged_again(ingest, store):
    document = {"id": "a", "text": words(900)}
    await ingest([document], "default")
    store.staged.clear()
    [result] = await ingest([document], "default")
    assert result.state == "unchanged"
    assert not store.staged
    await ingest([document | {"title": "New"}], "default")
    assert store.staged


async def test_what_was_stored_before_an_error_is_unchanged_in_the_repeat(encoder, limits):
    store = MemoryStore(None, DependencyUnavailable("the Embedder is gone"))
    ingest = IngestDocuments(store, Encoders(encoder), limits)
    raw = [{"id": str(n), "text": words(250)} for n in range(4)]
    with pytest.raises(DependencyUnavailable):
        await ingest(raw, "default")
    kept = list(store.kept)
    assert 0 < len(kept) < len(raw)
    states = {result.id: result.state for result in await ingest(raw, "default")}
    assert [name for name, state in states.items() if state == "unchanged"] == kept


async def test_an_encoder_that_changes_between_groups_costs_the_rest_a_second_splitting(encoder, limits):
    store = MemoryStore(None, EncoderChanged("the model changed"))
    new = encoder.model_copy(update={"fingerprint": "new"})
    results = await IngestDocuments(store, Encoders(encoder, new), limits)([{"id": str(n), "text": words(300)} for n in range(3)], "default")
    assert [result.state for result in results] == ["created"] * 3
    assert [(item.document.id, item.encoder) for item in store.kept.values()] == [("0", encoder.fingerprint), ("1", "new"), ("2", "new")]


async def test_splitting_leaves_the_event_loop_free(ingest, monkeypatch):
    threads = set()
    split = TokenSplitter.split

    def watched(self: TokenSplitter, document: Document) -> tuple[Chunk, ...]:
        threads.add(threading.get_ident())
        return split(self, document)

    monkeypatch.setattr(TokenSplitter, "split", watched)
    await ingest([{"id": "a", "text": "t"}], "default")
    assert threads
    assert threading.get_ident() not in threads
