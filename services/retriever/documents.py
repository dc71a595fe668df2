"""Rows of one document: written, removed and read back, inside a transaction that the caller holds."""

# What is put into statements are constants and question marks; every value is bound.
# ruff: noqa: S608

import base64
import json
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pydantic import TypeAdapter

from core.errors import InvalidRequest, StoreCorrupt
from core.schemas import Chunk, Document, DocumentPage, DocumentRef, DocumentSummary, ListRequest, SplitDocument, StoredDocument
from core.vectors import Vector
from services import clock
from services.retriever import checksums, collections
from services.retriever.schema import ChunkIds
from services.retriever.scope import facet

_CURSOR = TypeAdapter(tuple[str, str])
_CHUNK_COUNT = "(SELECT count(*) FROM chunks WHERE document = number)"


class Entry(NamedTuple):
    """What has to be known of a stored document before it is replaced or removed."""

    number: int
    content_hash: str
    chunks: int


def find(connection: sqlite3.Connection, collection: str, document_id: str) -> Entry | None:
    """The entry of a document, if it is stored."""
    row = connection.execute(
        f"SELECT number, content_hash, {_CHUNK_COUNT} FROM documents WHERE collection = ? AND id = ?",
        (collection, document_id),
    ).fetchone()
    return Entry(*row) if row else None


def insert(connection: sqlite3.Connection, split: SplitDocument, content_hash: str, vectors: Vector, added_at: str | None = None) -> ChunkIds:
    """Write a document, its chunks with `vectors` (float32 `[n_chunks, dim]`), its words and metadata; returns the chunk ids, in order."""
    collections.ensure(connection, split.collection)
    number = _insert_document(connection, split, content_hash, added_at or clock.now())
    connection.executemany(
        "INSERT INTO facets (document, key, kind, value) VALUES (?, ?, ?, ?)",
        [(number, key, *facet(value)) for key, value in split.document.metadata.items()],
    )
    ids = _insert_chunks(connection, number, split)
    connection.executemany(
        "INSERT INTO vectors (chunk, crc, vector) VALUES (?, ?, ?)",
        [(chunk, *checksums.of_vector(row)) for chunk, row in zip(ids, vectors, strict=True)],
    )
    connection.executemany(
        "INSERT INTO chunk_index (rowid, title, headings, text) VALUES (?, ?, ?, ?)",
        [(id_, split.document.title, joined(chunk.headings), chunk.text) for id_, chunk in zip(ids, split.chunks, strict=True)],
    )
    collections.count(connection, split.collection, 1, len(ids))
    return np.array(ids, np.int64)


def remove(connection: sqlite3.Connection, number: int) -> ChunkIds:
    """Remove all rows of a document; returns the ids its chunks had."""
    ids = [chunk for (chunk,) in connection.execute("SELECT id FROM chunks WHERE document = ?", (number,))]
    # FTS5 keeps no text of its own and has to be told what was indexed, so this comes before the rows go.
    connection.execute(
        "INSERT INTO chunk_index (chunk_index, rowid, title, headings, text) "
        "SELECT 'delete', id, title, headings, text FROM chunk_words WHERE document = ?",
        (number,),
    )
    (collection,) = connection.execute("DELETE FROM documents WHERE number = ? RETURNING collection", (number,)).fetchone()
    collections.count(connection, collection, -1, -len(ids))
    return np.array(ids, np.int64)


def read(connection: sqlite3.Connection, ref: DocumentRef) -> StoredDocument | None:
    """A document with its text, if it is stored; raises StoreCorrupt where it is not what was stored."""
    row = connection.execute(
        f"SELECT title, text, metadata, structure, content_hash, {_CHUNK_COUNT}, added_at FROM documents WHERE collection = ? AND id = ?",
        (ref.collection, ref.id),
    ).fetchone()
    if row is None:
        return None
    title, text, metadata, structure, content_hash, chunks, added_at = row
    content = {"id": ref.id, "title": title, "text": text, "metadata": json.loads(metadata), **json.loads(structure)}
    document = StoredDocument.model_validate(
        content | {"collection": ref.collection, "content_hash": content_hash, "chunks": chunks, "added_at": added_at}
    )
    if document.hash_content() != content_hash:
        raise StoreCorrupt(f"document {ref.id!r} of collection {ref.collection!r} is damaged on the disk: ingest it again, or restore a backup")
    return document


def page(connection: sqlite3.Connection, request: ListRequest) -> DocumentPage:
    """Documents by collection and id, from behind the cursor on; raises InvalidRequest where the cursor is none of ours."""
    after = _decoded(request.cursor) if request.cursor is not None else ("", "")
    only, names = ("AND collection = ?", (request.collection,)) if request.collection is not None else ("", ())
    rows = connection.execute(
        f"SELECT id, collection, title, metadata, chars, {_CHUNK_COUNT}, content_hash, added_at FROM documents "
        f"WHERE (collection, id) > (?, ?) {only} ORDER BY collection, id LIMIT ?",
        (*after, *names, request.limit + 1),
    ).fetchall()
    documents = tuple(map(_summary, rows[: request.limit]))
    return DocumentPage(documents=documents, next=_encoded(documents[-1]) if len(rows) > request.limit else None)


def joined(headings: Sequence[str]) -> str:
    """A heading path as it is stored: a line each."""
    return "\n".join(" ".join(heading.split()) for heading in headings)


def parted(headings: str) -> tuple[str, ...]:
    """The heading path that `joined` wrote."""
    return tuple(headings.split("\n")) if headings else ()


def _structure(document: Document) -> str:
    return document.model_dump_json(include={"page_starts", "headings", "blocks"})


def _insert_document(connection: sqlite3.Connection, split: SplitDocument, content_hash: str, added_at: str) -> int:
    document = split.document
    row = {
        "collection": split.collection,
        "id": document.id,
        "title": document.title,
        "metadata": json.dumps(document.metadata, ensure_ascii=False),
        "structure": _structure(document),
        "content_hash": content_hash,
        "added_at": added_at,
        "chars": len(document.text),
        "text": document.text,
    }
    columns, marks = ", ".join(row), ", ".join("?" * len(row))
    cursor = connection.execute(f"INSERT INTO documents ({columns}) VALUES ({marks}) RETURNING number", tuple(row.values()))
    return int(cursor.fetchone()[0])


def _insert_chunks(connection: sqlite3.Connection, number: int, split: SplitDocument) -> list[int]:
    statement = "INSERT INTO chunks (document, ordinal, start_char, end_char, page, crc, headings, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id"
    return [int(connection.execute(statement, (number, *_chunk_row(chunk))).fetchone()[0]) for chunk in split.chunks]


def _chunk_row(chunk: Chunk) -> tuple[object, ...]:
    headings = joined(chunk.headings)
    crc = checksums.of_chunk(chunk.start, chunk.end, chunk.page, headings, chunk.text)
    return chunk.ordinal, chunk.start, chunk.end, chunk.page, crc, headings, chunk.text


def _summary(row: Sequence[object]) -> DocumentSummary:
    values = dict(zip(("id", "collection", "title", "metadata", "chars", "chunks", "content_hash", "added_at"), row, strict=True))
    return DocumentSummary.model_validate(values | {"metadata": json.loads(str(values["metadata"]))})


def _encoded(last: DocumentSummary) -> str:
    return base64.urlsafe_b64encode(json.dumps([last.collection, last.id]).encode()).decode()


def _decoded(cursor: str) -> tuple[str, str]:
    try:
        return _CURSOR.validate_json(base64.urlsafe_b64decode(cursor))
    except ValueError as error:
        raise InvalidRequest(f"cursor {cursor!r} is not one that a list returned: pass `next` of the last page, or none to start anew") from error
