import base64
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import DocumentNotFound, IndexMismatch, InvalidRequest, StorageFull
from core.schemas import Document, DocumentRef, ListRequest, Scalar, SplitDocument
from services.retriever.database import Database
from services.retriever.passages import chunk_ids, stored_vectors
from services.retriever.store import DocumentStore
from tests.services.retriever.samples import DIM, ENCODER, database_of, split, vectors_of

texts = st.text(min_size=1, max_size=40).filter(str.strip)
scalars = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10)
keys = st.text(min_size=1, max_size=5).filter(lambda key: key.isprintable() and '"' not in key)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path / "store-1.db")
    DocumentStore(database).bind_encoder(ENCODER)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> DocumentStore:
    return DocumentStore(database)


def _put(store: DocumentStore, document: SplitDocument) -> str:
    return store.put(document, vectors_of(document)).state


def _rows(database: Database) -> dict[str, int]:
    """How many rows each table holds that has something to do with documents."""
    tables = ("documents", "facets", "chunks", "vectors", "chunk_index_docsize")
    with database.reading() as connection:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts, st.lists(texts, min_size=1, max_size=4), st.dictionaries(keys, scalars, max_size=4))
def test_what_is_put_is_got_back(store: DocumentStore, title: str, parts: list[str], metadata: dict[str, Scalar]) -> None:
    document = split("id", *parts, title=title, metadata=metadata)
    _put(store, document)
    stored = store.get(DocumentRef(id="id"))
    assert Document.model_validate(stored.model_dump(include=set(Document.model_fields))) == document.document
    assert (stored.collection, stored.chunks, stored.content_hash) == ("default", len(parts), document.document.hash_content())
    assert store.verify() == ()


def test_a_document_is_created_updated_and_then_unchanged(store: DocumentStore) -> None:
    assert [_put(store, split("id", text)) for text in ("one", "two", "two", "one")] == ["created", "updated", "unchanged", "updated"]
    assert store.status().documents == 1
    assert store.status().index_version == 3


def test_the_same_id_in_two_collections_is_two_documents(store: DocumentStore) -> None:
    for name in ("a", "b"):
        assert _put(store, split("id", f"text of {name}", collection=name)) == "created"
    store.delete(DocumentRef(id="id", collection="a"))
    assert store.get(DocumentRef(id="id", collection="b")).text == "text of b"
    assert store.status().collections == {"a": 0, "b": 1}


def test_holds_tells_the_same_content_from_another(store: DocumentStore) -> None:
    document = split("id", "text", metadata={"n": 1})
    assert not store.holds(document)
    _put(store, document)
    assert store.holds(document)
    assert not store.holds(split("id", "text", metadata={"n": True}))
    assert not store.holds(split("id", "text", metadata={"n": 1}, collection="other"))


def test_a_change_names_the_chunks_that_went_and_came_and_no_id_comes_twice(store: DocumentStore) -> None:
    first, second = split("id", "a", "b"), split("id", "c")
    created = store.put(first, vectors_of(first))
    updated = store.put(second, vectors_of(second))
    assert (created.removed.size, created.added.size, updated.added.size) == (0, 2, 1)
    assert updated.removed.tolist() == created.added.tolist()
    assert store.delete(DocumentRef(id="id")).tolist() == updated.added.tolist()
    again = store.put(first, vectors_of(first))
    assert again.added.min() > updated.added.max()


def test_deleting_leaves_no_row_behind(database: Database, store: DocumentStore) -> None:
    _put(store, split("id", "a", "b", metadata={"key": "value"}))
    assert all(_rows(database).values())
    store.delete(DocumentRef(id="id"))
    assert not any(_rows(database).values())
    assert store.verify() == ()


@pytest.mark.parametrize("use", [DocumentStore.get, DocumentStore.delete])
def test_a_missing_document_is_named(store: DocumentStore, use: object) -> None:
    with pytest.raises(DocumentNotFound, match="'gone' in collection 'default'"):
        use(store, DocumentRef(id="gone"))


def test_vectors_come_back_as_they_were_put(store: DocumentStore) -> None:
    documents = [split(str(n), *(f"text {n} {part}" for part in range(3))) for n in range(4)]
    added = [store.put(document, vectors_of(document)).added for document in documents]
    with store.reading() as connection:
        ids, vectors = next(stored_vectors(connection, DIM, chunk_ids(connection)))
    assert ids.tolist() == np.concatenate(added).tolist()
    assert np.array_equal(vectors, np.concatenate([vectors_of(document) for document in documents]))


def test_a_write_that_fails_halfway_is_not_seen_then_or_after_a_restart(tmp_path: Path) -> None:
    store = DocumentStore.open(tmp_path / "store-1.db")
    store.bind_encoder(ENCODER)
    old = split("id", "old text")
    _put(store, old)
    new = split("id", "new text", "in two chunks", metadata={"key": "value"})
    with pytest.raises(ValueError, match="zip"):
        store.put(new, vectors_of(new)[:1])  # a vector is missing: fails after the old document went and the new chunks came
    store.close()
    store = DocumentStore.open(tmp_path / "store-1.db")
    assert store.get(DocumentRef(id="id")).text == "old text"
    assert store.status().chunks == 1
    assert store.verify() == ()
    store.close()


def test_a_full_disk_keeps_the_old_document_whole(database: Database, store: DocumentStore) -> None:
    _put(store, split("id", "old text"))
    with database.writing() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 10}")
    big = split("id", *(f"{n} " * 200 for n in range(500)))
    with pytest.raises(StorageFull):
        _put(store, big)
    assert store.verify() == ()
    assert store.get(DocumentRef(id="id")).text == "old text"
    with database.writing() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    assert _put(store, big) == "updated"
    assert store.verify() == ()


# -- the list --------------------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    st.sets(st.tuples(st.sampled_from("abc"), st.text("ab\x7eé😀'%_", min_size=1, max_size=3)), max_size=8),
    st.integers(1, 4),
    st.none() | st.sampled_from("abcd"),
)
def test_pages_together_are_all_documents_in_order(stored: set[tuple[str, str]], limit: int, collection: str | None) -> None:
    store = DocumentStore(_InMemory(*(split(document_id, "text", collection=name) for name, document_id in stored)))
    listed, cursor = [], None
    while True:
        page = store.list(ListRequest(limit=limit, cursor=cursor, collection=collection))
        listed += [(document.collection, document.id) for document in page.documents]
        assert len(listed) <= len(stored)
        cursor = page.next
        if cursor is None:
            break
        assert len(page.documents) == limit
    assert listed == sorted(key for key in stored if collection in (None, key[0]))


class _InMemory:
    """A database for reading only, quicker than a file."""

    def __init__(self, *stored: SplitDocument) -> None:
        self._connection = database_of(*stored)

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        return nullcontext(self._connection)


def test_a_row_of_the_list_describes_the_document(store: DocumentStore) -> None:
    document = split("id", "ab\x00c", "dé😀", title="Title", metadata={"n": 1, "b": True})
    _put(store, document)
    (row,) = store.list(ListRequest()).documents
    assert (row.title, row.metadata, row.chars, row.chunks) == ("Title", {"n": 1, "b": True}, 8, 2)
    assert row.metadata["b"] is True
    assert row.content_hash == document.document.hash_content()
    assert row.added_at.endswith("+00:00")


@settings(deadline=None)
@given(st.text(max_size=30) | st.binary(max_size=30).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_a_cursor_that_is_none_of_ours_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        DocumentStore(_InMemory()).list(ListRequest(cursor=cursor))


# -- the encoder -----------------------------------------------------------------------------------------------------------------


def test_the_store_belongs_to_the_encoder_of_its_vectors(tmp_path: Path) -> None:
    store = DocumentStore.open(tmp_path / "store-1.db")
    assert store.bound_encoder() is None
    store.bind_encoder(ENCODER.model_copy(update={"tokenizer_json": "long"}))
    _put(store, split("id", "text"))
    store.close()

    store = DocumentStore.open(tmp_path / "store-1.db")
    assert store.bound_encoder() == ENCODER
    store.bind_encoder(ENCODER)
    for change in ({"fingerprint": "encoder-b", "model": "model-b"}, {"dim": 9}):
        with pytest.raises(IndexMismatch, match=r"built with model-a .*start with that model, or run `ekiben reindex`"):
            store.bind_encoder(ENCODER.model_copy(update=change))
    assert store.bound_encoder() == ENCODER
    store.close()


def test_an_empty_store_takes_another_encoder(store: DocumentStore) -> None:
    _put(store, split("id", "text"))
    store.delete(DocumentRef(id="id"))
    other = ENCODER.model_copy(update={"fingerprint": "encoder-b"})
    store.bind_encoder(other)
    assert store.bound_encoder() == other
