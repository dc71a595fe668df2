"""The truth: documents, chunks, vectors and words in one SQLite database, changed one whole document at a time."""

import sqlite3
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import numpy as np

from core.errors import DocumentNotFound, IndexMismatch
from core.schemas import DocumentPage, DocumentRef, EncoderInfo, ListRequest, SplitDocument, StoredDocument, StoreStatus
from core.vectors import Vector
from services.retriever import documents, integrity
from services.retriever.database import Database
from services.retriever.schema import ChunkIds


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
    """Documents by collection and id. Thread-safe; all methods block. Errors of SQLite come out as StorageFull, StoreCorrupt or Internal."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, data_dir: Path) -> Self:
        """Open the store in `data_dir`, which is created where it is missing. Raises what `Database.open` raises."""
        return cls(Database.open(data_dir))

    def close(self) -> None:
        """Close the database and release its lock."""
        self._database.close()

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection that sees one committed state until the block ends."""
        return self._database.reading()

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
                raise _mismatch(bound, encoder)
            record = encoder.model_copy(update={"tokenizer_json": ""}).model_dump_json()
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('encoder', ?)", (record,))

    def holds(self, split: SplitDocument) -> bool:
        """Whether this very content is stored under the id already."""
        with self.reading() as connection:
            entry = documents.find(connection, split.collection, split.document.id)
        return entry is not None and entry.content_hash == split.document.hash_content()

    def put(self, split: SplitDocument, vectors: Vector) -> Change:
        """Store a document with `vectors`, float32 `[n_chunks, dim]`, in the place of the one with its id; on the disk when this returns."""
        content_hash = split.document.hash_content()
        with self._database.writing() as connection:
            before = documents.find(connection, split.collection, split.document.id)
            if before and before.content_hash == content_hash:
                return Change("unchanged", before.chunks)
            removed = documents.remove(connection, before.number) if before else _no_chunks()
            added = documents.insert(connection, split, content_hash, vectors)
            _count_change(connection)
        return Change("updated" if before else "created", added.size, removed, added)

    def delete(self, ref: DocumentRef) -> ChunkIds:
        """Remove a document and return the ids of its chunks; the removal is on the disk when this returns. Raises DocumentNotFound."""
        with self._database.writing() as connection:
            entry = documents.find(connection, ref.collection, ref.id)
            if entry is None:
                raise _not_found(ref)
            removed = documents.remove(connection, entry.number)
            _count_change(connection)
        return removed

    def get(self, ref: DocumentRef) -> StoredDocument:
        """A document as stored; raises DocumentNotFound."""
        with self.reading() as connection:
            document = documents.read(connection, ref)
        if document is None:
            raise _not_found(ref)
        return document

    def list(self, request: ListRequest) -> DocumentPage:
        """One page of the documents, by collection and id; raises InvalidRequest for a cursor that is none of ours."""
        with self.reading() as connection:
            return documents.page(connection, request)

    def status(self) -> StoreStatus:
        """How much the store holds, and the documents of each collection."""
        with self.reading() as connection:
            collections = dict(connection.execute("SELECT collection, count(*) FROM documents GROUP BY collection"))
            (chunks,) = connection.execute("SELECT count(*) FROM chunks").fetchone()
            version = index_version(connection)
        return StoreStatus(documents=sum(collections.values()), chunks=chunks, collections=collections, index_version=version)

    def verify(self) -> tuple[str, ...]:
        """Every fault found in the store, in words; empty where it is sound. Reads everything, and holds back writers meanwhile.

        Raises StoreCorrupt where SQLite can't read on.
        """
        bound = self.bound_encoder()
        with self._database.writing() as connection:
            return tuple(integrity.faults(connection, bound.dim if bound else None))


def index_version(connection: sqlite3.Connection) -> int:
    """How many changes have been committed in the life of the store."""
    return int(connection.execute("SELECT value FROM meta WHERE key = 'index_version'").fetchone()[0])


def _count_change(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'index_version'")


def _bound_encoder(connection: sqlite3.Connection) -> EncoderInfo | None:
    row = connection.execute("SELECT value FROM meta WHERE key = 'encoder'").fetchone()
    return EncoderInfo.model_validate_json(row[0]) if row else None


def _mismatch(bound: EncoderInfo, running: EncoderInfo) -> IndexMismatch:
    return IndexMismatch(
        f"index built with {bound.model} (dim {bound.dim}, fingerprint {bound.fingerprint}), "
        f"the running encoder is {running.model} (dim {running.dim}, fingerprint {running.fingerprint}): "
        "start with that model, or use a new --data folder and ingest again"
    )


def _not_found(ref: DocumentRef) -> DocumentNotFound:
    return DocumentNotFound(f"there is no document {ref.id!r} in collection {ref.collection!r}")
