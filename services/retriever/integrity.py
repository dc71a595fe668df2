"""What holds in a sound store, and a sentence for every breach."""

import sqlite3
from collections.abc import Iterator
from json import JSONDecodeError
from typing import Final

import numpy as np
from pydantic import ValidationError

from core.errors import StoreCorrupt
from core.schemas import DocumentRef
from services.retriever import checksums, collections, documents
from services.retriever.scope import facet

_OF_INDEXES: Final = ("missing from index", "entries in index", "entry in index", "inverted index")
_FALSE_FACETS: Final = "what filters see of its metadata is not its metadata"


def faults(connection: sqlite3.Connection, dim: int | None) -> Iterator[str]:
    """Every fault in the database; `dim` is that of the bound encoder, None where there is none. `connection` has to be allowed to write."""
    found = _findings(connection)
    yield from (f"SQLite: {finding}" for finding in found)
    for table, rowid, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"row {rowid} of {table} belongs to nothing in {parent}"
    if not all(map(_is_of_index, found)):
        yield "what else is wrong can't be told before these are mended"
        return
    yield from _of_words(connection)
    yield from _of_vectors(connection, dim or 0)
    yield from _of_counts(connection)
    for name in collections.damaged(connection):
        yield f"the settings of collection {name!r} can't be read"
    for collection, document_id in connection.execute("SELECT collection, id FROM documents ORDER BY collection, id").fetchall():
        for fault in _of_document(connection, DocumentRef.model_construct(collection=collection, id=document_id)):
            yield f"document {document_id!r} of collection {collection!r}: {fault}"


def faults_of_rows(connection: sqlite3.Connection) -> Iterator[str]:
    """What SQLite finds wrong with pages and values, which no building of indexes mends."""
    yield from (f"SQLite: {finding}" for finding in _findings(connection) if not _is_of_index(finding))


def _findings(connection: sqlite3.Connection) -> list[str]:
    return [" ".join(finding.split()) for (finding,) in connection.execute("PRAGMA integrity_check") if finding != "ok"]


def _is_of_index(finding: str) -> bool:
    return any(words in finding for words in _OF_INDEXES)


def _of_words(connection: sqlite3.Connection) -> Iterator[str]:
    """The full-text index against the texts: FTS5 reports a difference as damage, without saying where."""
    try:
        # Rank 1 asks for the comparison with the texts; without it only the index's own structure is looked at.
        connection.execute("INSERT INTO chunk_index (chunk_index, rank) VALUES ('integrity-check', 1)")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_CORRUPT_VTAB:
            raise
        yield "the full-text index doesn't agree with the texts"


def _of_vectors(connection: sqlite3.Connection, dim: int) -> Iterator[str]:
    size = dim * np.dtype(np.float32).itemsize
    for (chunk,) in connection.execute("SELECT id FROM chunks WHERE id NOT IN (SELECT chunk FROM vectors)"):
        yield f"chunk {chunk} has no vector"
    for chunk, crc, vector in connection.execute("SELECT chunk, crc, vector FROM vectors"):
        if not checksums.is_vector(vector, size, crc):
            yield f"the vector of chunk {chunk} is not the one of {size} bytes that was stored"


def _of_counts(connection: sqlite3.Connection) -> Iterator[str]:
    counted = "SELECT collection, count(DISTINCT number), count(chunks.id) FROM documents LEFT JOIN chunks ON document = number GROUP BY collection"
    true = {name: tuple(counts) for name, *counts in connection.execute(counted)}
    for name, *counts in connection.execute("SELECT name, documents, chunks FROM collections"):
        if tuple(counts) != true.get(name, (0, 0)):
            yield f"collection {name!r} counts {counts[0]} documents and {counts[1]} chunks instead of {true.get(name, (0, 0))}"


def _of_document(connection: sqlite3.Connection, ref: DocumentRef) -> Iterator[str]:
    try:
        document = documents.read(connection, ref)
    except (StoreCorrupt, ValidationError, JSONDecodeError) as error:
        yield f"is damaged ({type(error).__name__})"
        return
    if document is None:
        yield "is in the list and can't be read"
        return
    number, chars = connection.execute("SELECT number, chars FROM documents WHERE collection = ? AND id = ?", (ref.collection, ref.id)).fetchone()
    if chars != len(document.text):
        yield f"has {len(document.text)} characters instead of {chars}"
    if _stored_facets(connection, number) != {(key, *facet(value)) for key, value in document.metadata.items()}:
        yield _FALSE_FACETS
    yield from _of_chunks(connection, number, document.text)


def faults_of_document(connection: sqlite3.Connection, number: int, collection: str, document_id: str, vector_bytes: int) -> Iterator[str]:
    """The faults of one document, its chunks and its vectors, which `ekiben repair` can't mend."""
    yield from (
        fault for fault in _of_document(connection, DocumentRef.model_construct(collection=collection, id=document_id)) if fault != _FALSE_FACETS
    )
    rows = connection.execute("SELECT vectors.crc, vector FROM chunks LEFT JOIN vectors ON chunk = id WHERE document = ?", (number,))
    for crc, vector in rows:
        if not checksums.is_vector(vector, vector_bytes, crc):
            yield "a chunk has no sound vector"


def _of_chunks(connection: sqlite3.Connection, number: int, text: str) -> Iterator[str]:
    query = "SELECT ordinal, start_char, end_char, page, headings, text, crc FROM chunks WHERE document = ? ORDER BY ordinal"
    rows = connection.execute(query, (number,)).fetchall()
    if [row[0] for row in rows] != list(range(len(rows))):
        yield f"has the chunks {[row[0] for row in rows]}: one is missing"
    for ordinal, start, end, page, headings, chunk_text, crc in rows:
        if not 0 <= start < end <= len(text):
            yield f"chunk {ordinal} is at {start} to {end}, outside of the text's {len(text)} characters"
        elif text[start:end] != chunk_text:
            yield f"chunk {ordinal} is not the text at {start} to {end}"
        elif checksums.of_chunk(start, end, page, headings, chunk_text) != crc:
            yield f"chunk {ordinal} is not the one that was stored"


def _stored_facets(connection: sqlite3.Connection, number: int) -> set[tuple[str, str, int | float | str]]:
    return set(connection.execute("SELECT key, kind, value FROM facets WHERE document = ?", (number,)))
