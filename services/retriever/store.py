"""The truth: documents, chunks, vectors and words in one SQLite database, changed one whole document at a time."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
from pydantic import ValidationError

from core.errors import CollectionConflict, CollectionNotFound, DocumentNotFound, IndexMismatch
from core.schemas import (
    Collection,
    CollectionChange,
    CollectionDeleted,
    CollectionList,
    CollectionRef,
    CollectionSettings,
    DocumentPage,
    DocumentRef,
    EncoderInfo,
    ListRequest,
    SplitDocument,
    StoredDocument,
    StoreStatus,
)
from core.vectors import Vector
from services.retriever import collections, documents, integrity, staging
from services.retriever.database import Database
from services.retriever.schema import ChunkIds
from services.retriever.snapshot import SnapshotRecord
from services.sqlite_errors import damage

_DELETED_AT_ONCE: Final = 100


def _no_chunks() -> ChunkIds:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class Change:
    """What a committed write did: how many chunks the document has, and the ids of those that are gone and of those that are new."""

    state: Literal["created", "updated", "unchanged"]
    chunks: int
    removed: ChunkIds = field(default_factory=_no_chunks)
    added: ChunkIds = field(default_factory=_no_chunks)


class DocumentStore:
    """Documents by collection and id. Thread-safe; all methods block. Errors of SQLite come out as StorageFull, StoreCorrupt or Internal.

    `on_commit` is told how many changes there are after each one.
    """

    def __init__(self, database: Database, on_commit: Callable[[int], None] | None = None) -> None:
        self._database = database
        self.on_commit = on_commit

    @classmethod
    def open(cls, path: Path, on_commit: Callable[[int], None] | None = None) -> Self:
        """Open the database at `path`, which is created where it is missing. Raises what `Database.open` raises."""
        return cls(Database.open(path), on_commit)

    @property
    def path(self) -> Path:
        """The database."""
        return self._database.path

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection that sees one committed state until the block ends."""
        return self._database.reading()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that counts as a change."""
        with self._database.writing() as connection:
            yield connection
            version = _count_change(connection)
        self._tell(version)

    def _tell(self, version: int) -> None:
        if self.on_commit:
            self.on_commit(version)

    # -- the encoder -------------------------------------------------------------------------------------------------------------

    def bound_encoder(self) -> EncoderInfo | None:
        """The encoder that made the stored vectors, without its tokenizer; None before the first `bind_encoder`."""
        with self.reading() as connection:
            return _bound_encoder(connection)

    def bind_encoder(self, encoder: EncoderInfo) -> None:
        """Reserve the store for vectors of `encoder`; raises IndexMismatch where it holds those of another one."""
        with self._database.writing() as connection:
            bound = _bound_encoder(connection)
            if bound and (bound.fingerprint, bound.dim) == (encoder.fingerprint, encoder.dim):
                return
            if bound and connection.execute("SELECT EXISTS (SELECT 1 FROM chunks)").fetchone()[0]:
                raise mismatch(bound, encoder)
            write_meta(connection, "encoder", encoder.model_copy(update={"tokenizer_json": ""}).model_dump_json())

    # -- documents ---------------------------------------------------------------------------------------------------------------

    def holds(self, split: SplitDocument) -> bool:
        """Whether this very content is stored under the id already."""
        with self.reading() as connection:
            entry = documents.find(connection, split.collection, split.document.id)
        return entry is not None and entry.content_hash == split.document.hash_content()

    def put(self, split: SplitDocument, vectors: Vector, passages: Sequence[str] = (), added_at: str | None = None) -> Change:
        """Store a document with `vectors`, float32 `[n_chunks, dim]`, in the place of the one with its id; on the disk when this returns.

        What was staged for `passages` is forgotten with it.
        """
        content_hash = split.document.hash_content()
        with self._database.writing() as connection:
            before = documents.find(connection, split.collection, split.document.id)
            if before and before.content_hash == content_hash:
                return Change("unchanged", before.chunks)
            removed = documents.remove(connection, before.number) if before else _no_chunks()
            added = documents.insert(connection, split, content_hash, vectors, added_at)
            staging.forget(connection, split.encoder, passages)
            version = _count_change(connection)
        self._tell(version)
        return Change("updated" if before else "created", added.size, removed, added)

    def delete(self, ref: DocumentRef) -> ChunkIds:
        """Remove a document and return the ids of its chunks; the removal is on the disk when this returns. Raises DocumentNotFound."""
        with self._changing() as connection:
            entry = documents.find(connection, ref.collection, ref.id)
            if entry is None:
                raise _not_found(ref)
            return documents.remove(connection, entry.number)

    def get(self, ref: DocumentRef) -> StoredDocument:
        """A document as stored; raises DocumentNotFound, and StoreCorrupt where it is damaged."""
        with self.reading() as connection:
            document = documents.read(connection, ref)
        if document is None:
            raise _not_found(ref)
        return document

    def list(self, request: ListRequest) -> DocumentPage:
        """One page of the documents, by collection and id; raises InvalidRequest for a cursor that is none of ours."""
        with self.reading() as connection:
            return documents.page(connection, request)

    # -- staged vectors ----------------------------------------------------------------------------------------------------------

    def stage(self, encoder: str, texts: Sequence[str], vectors: Vector) -> None:
        """Keep `vectors`, float32 `[n, dim]`, of passages whose document comes later; on the disk when this returns."""
        with self._database.writing() as connection:
            staging.keep(connection, encoder, texts, vectors)

    def staged(self, encoder: str, texts: Sequence[str]) -> dict[str, Vector]:
        """The staged vectors, float32 `[dim]`, of those of `texts` that have one."""
        with self.reading() as connection:
            return staging.find(connection, encoder, texts)

    def forget_old_stages(self) -> None:
        """Remove staged vectors whose document never came."""
        with self._database.writing() as connection:
            staging.forget_old(connection)

    # -- collections -------------------------------------------------------------------------------------------------------------

    def collections(self) -> CollectionList:
        """All collections, by name."""
        with self.reading() as connection:
            return CollectionList(collections=collections.read_all(connection))

    def collection(self, ref: CollectionRef) -> Collection:
        """A collection; one that does not exist yet is as it will be when its first document arrives."""
        with self.reading() as connection:
            found = collections.find(connection, ref.name)
        return found or Collection(name=ref.name, settings=CollectionSettings(), documents=0, chunks=0, created_at="")

    def put_collection(self, change: CollectionChange) -> Collection:
        """Create a collection or change its settings; raises CollectionConflict where chunks of another size are stored in it."""
        with self._changing() as connection:
            before = collections.find(connection, change.name)
            if before and before.documents and _sizes(before.settings) != _sizes(change.settings):
                raise CollectionConflict(
                    f"collection {change.name!r} holds {before.documents} documents cut with {_told(before.settings)}: leave the sizes as they are, "
                    "or create another collection"
                )
            collections.create(connection, change.name, change.settings)
        return self.collection(CollectionRef(name=change.name))

    def delete_collection(self, ref: CollectionRef, forget: Callable[[ChunkIds], None]) -> CollectionDeleted:
        """Remove a collection with all its documents, some at a time; `forget` is given the ids of their chunks. Raises CollectionNotFound."""
        receipt = self._existing(ref.name)
        while numbers := self._numbers_in(ref.name):
            with self._changing() as connection:
                removed = [documents.remove(connection, number) for number in numbers]
            forget(np.concatenate(removed))
        with self._changing() as connection:
            collections.remove(connection, ref.name)
        return CollectionDeleted(name=ref.name, documents=receipt.documents, chunks=receipt.chunks)

    def _existing(self, name: str) -> Collection:
        with self.reading() as connection:
            found = collections.find(connection, name)
        if found is None:
            raise CollectionNotFound(f"there is no collection {name!r}")
        return found

    def _numbers_in(self, name: str) -> Sequence[int]:
        with self.reading() as connection:
            rows = connection.execute("SELECT number FROM documents WHERE collection = ? LIMIT ?", (name, _DELETED_AT_ONCE))
            return [number for (number,) in rows]

    # -- state -------------------------------------------------------------------------------------------------------------------

    def status(self) -> StoreStatus:
        """How much the store holds, and the documents of each collection."""
        size, free = self._database.sizes()
        with self.reading() as connection:
            found = collections.read_all(connection)
            version = index_version(connection)
        return StoreStatus(
            documents=sum(one.documents for one in found),
            chunks=sum(one.chunks for one in found),
            collections={one.name: one.documents for one in found},
            index_version=version,
            bytes_on_disk=size,
            bytes_free=free,
        )

    def snapshot(self) -> SnapshotRecord | None:
        """The snapshot of the vector index that belongs to this store; None where none is, or none of the bound encoder."""
        with self.reading() as connection:
            bound, record = _bound_encoder(connection), read_meta(connection, "snapshot")
        if bound is None or record is None:
            return None
        try:
            snapshot = SnapshotRecord.model_validate_json(record)
        except ValidationError:
            return None
        return snapshot if snapshot.fingerprint == bound.fingerprint else None

    def name_snapshot(self, record: SnapshotRecord | None) -> None:
        """Name the snapshot that belongs to this store from now on; its file has to be on the disk."""
        with self._database.writing() as connection:
            write_meta(connection, "snapshot", record.model_dump_json() if record else None)

    def mark_building(self, building: bool) -> None:
        """Say whether this store is being built beside another one; what is not whole is never taken for the store."""
        with self._database.writing() as connection:
            write_meta(connection, "building", "yes" if building else None)

    def take_collections(self, found: CollectionList) -> None:
        """Have the same collections with the same settings as another store."""
        with self._database.writing() as connection:
            for one in found.collections:
                collections.create(connection, one.name, one.settings)

    def continue_from(self, version: int) -> None:
        """Count changes on from `version`, that of the store whose place this one takes."""
        with self._database.writing() as connection:
            write_meta(connection, "index_version", max(version, index_version(connection)) + 1)
        self._database.checkpoint()

    # -- the space of what is gone -----------------------------------------------------------------------------------------------

    def give_back_space(self) -> None:
        """Merge the words of deleted documents out of the full-text index and give free pages back to the disk.

        The merge is one transaction, during which changes wait; searches go on.
        """
        with self._database.writing() as connection:
            connection.execute("INSERT INTO chunk_index (chunk_index) VALUES ('optimize')")
        while self._database.give_back_pages():
            pass
        self._database.checkpoint()

    def index_version(self) -> int:
        """How many changes have been committed in the life of the store."""
        with self.reading() as connection:
            return index_version(connection)

    def verify(self) -> tuple[str, ...]:
        """Every fault found in the store, in words; empty where it is sound. Reads everything, and holds back writers meanwhile.

        Raises StoreCorrupt where SQLite can't read on.
        """
        bound = self.bound_encoder()
        with self._database.writing() as connection:
            return tuple(integrity.faults(connection, bound.dim if bound else None))


def index_version(connection: sqlite3.Connection) -> int:
    """How many changes have been committed in the life of the store."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'index_version'").fetchone()
    if row is None or not isinstance(row[0], int):
        raise damage(f"index_version is {row[0] if row else 'missing'}")
    return row[0]


def read_meta(connection: sqlite3.Connection, key: str) -> str | None:
    """What is kept under `key`."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else None


def write_meta(connection: sqlite3.Connection, key: str, value: str | int | None) -> None:
    """Keep `value` under `key`; None forgets what is there."""
    if value is None:
        connection.execute("DELETE FROM meta WHERE key = ?", (key,))
    else:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def mismatch(bound: EncoderInfo, running: EncoderInfo) -> IndexMismatch:
    """The error where the vectors are not those of the encoder that runs."""
    return IndexMismatch(
        f"index built with {bound.model} (dim {bound.dim}, fingerprint {bound.fingerprint}), "
        f"the running encoder is {running.model} (dim {running.dim}, fingerprint {running.fingerprint}): "
        "start with that model, or run `ekiben reindex` to move the index over to the running one"
    )


def _count_change(connection: sqlite3.Connection) -> int:
    return int(connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'index_version' RETURNING value").fetchone()[0])


def _bound_encoder(connection: sqlite3.Connection) -> EncoderInfo | None:
    record = read_meta(connection, "encoder")
    return EncoderInfo.model_validate_json(record) if record else None


def _sizes(settings: CollectionSettings) -> tuple[int | None, int | None]:
    return settings.chunk_tokens, settings.overlap_tokens


def _told(settings: CollectionSettings) -> str:
    chunk, overlap = ("the server's default" if size is None else f"{size} tokens" for size in _sizes(settings))
    return f"chunks of {chunk}, overlap of {overlap}"


def _not_found(ref: DocumentRef) -> DocumentNotFound:
    return DocumentNotFound(f"there is no document {ref.id!r} in collection {ref.collection!r}")
