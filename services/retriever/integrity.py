"""What holds in a sound store, and a sentence for every breach."""

import json
import sqlite3
from collections.abc import Iterator

import numpy as np

from services.retriever.scope import facet


def faults(connection: sqlite3.Connection, dim: int | None) -> Iterator[str]:
    """Every fault in the database; `dim` is that of the bound encoder, None where there is none. `connection` has to be allowed to write."""
    yield from _of_database(connection)
    yield from _of_words(connection)
    yield from _of_vectors(connection, dim or 0)
    for number, collection, document_id in connection.execute("SELECT number, collection, id FROM documents ORDER BY collection, id").fetchall():
        for fault in _of_document(connection, number):
            yield f"document {document_id!r} of collection {collection!r}: {fault}"


def _of_database(connection: sqlite3.Connection) -> Iterator[str]:
    for (finding,) in connection.execute("PRAGMA integrity_check"):
        if finding != "ok":
            yield f"SQLite: {finding}"
    for table, rowid, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"row {rowid} of {table} belongs to nothing in {parent}"


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
    for chunk, stored in connection.execute("SELECT chunk, length(vector) FROM vectors WHERE length(vector) <> ?", (size,)):
        yield f"the vector of chunk {chunk} has {stored} bytes instead of {size}"


def _of_document(connection: sqlite3.Connection, number: int) -> Iterator[str]:
    text, chars, metadata = connection.execute("SELECT text, chars, metadata FROM documents WHERE number = ?", (number,)).fetchone()
    if chars != len(text):
        yield f"has {len(text)} characters instead of {chars}"
    if _stored_facets(connection, number) != {(key, *facet(value)) for key, value in json.loads(metadata).items()}:
        yield "what filters see of its metadata is not its metadata"
    chunks = connection.execute("SELECT ordinal, start_char, end_char, text FROM chunks WHERE document = ?", (number,))
    for ordinal, start, end, chunk_text in chunks:
        if not 0 <= start < end <= len(text):
            yield f"chunk {ordinal} is at {start} to {end}, outside of the text's {len(text)} characters"
        elif text[start:end] != chunk_text:
            yield f"chunk {ordinal} is not the text at {start} to {end}"


def _stored_facets(connection: sqlite3.Connection, number: int) -> set[tuple[str, str, int | float | str]]:
    return set(connection.execute("SELECT key, kind, value FROM facets WHERE document = ?", (number,)))
