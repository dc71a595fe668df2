"""The layout of the database: what is the truth, and what is derived from it in the same transaction."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

ChunkIds = NDArray[np.int64]
"""int64 `[n]`, ids of rows of `chunks`."""

SqlValue = int | float | str

TOKENIZER: Final = "porter unicode61 remove_diacritics 2"

SCHEMA_VERSION: Final = 2
"""Stands in `PRAGMA user_version`. A change of the statements below raises it and comes with a migration once a version was released."""

# `text` is the last column of its table, because SQLite walks the pages of a long value to reach what stands behind it.
#
# The text of a chunk is stored, though it is also a part of the document's: `substr` counts characters from the start (4 to 10 ms a chunk in
# a document of 10 million characters), and stops at a NUL. `DocumentStore.verify` checks that the two agree.
#
# `crc` is that of the row's own content (`services.retriever.checksums`), because SQLite's pages have no checksum: a bit that flips on the
# disk is noticed when the row is read, instead of being quoted or ranked by.
#
# AUTOINCREMENT: the id of a deleted chunk is never given to another one, so a stale id in the vector index finds nothing, not the wrong thing.
#
# Metadata is stored twice: as JSON to be returned, and as one row a key to be searched. In 100,000 documents an equality takes 0.1 ms by
# the index and 90 ms with `json_extract`, which also cuts strings at a NUL.
#
# A collection counts its documents and chunks, because to count a million rows takes longer than to search them.
#
# `staged` holds vectors of passages whose document is not stored yet, so that what was embedded is not embedded again when a long
# document takes several calls or the process dies between them.
SCHEMA: Final = f"""
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('index_version', 0);

CREATE TABLE collections (
    name       TEXT PRIMARY KEY,
    settings   TEXT NOT NULL,
    created_at TEXT NOT NULL,
    documents  INTEGER NOT NULL DEFAULT 0,
    chunks     INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
    number       INTEGER PRIMARY KEY,
    collection   TEXT NOT NULL REFERENCES collections (name),
    id           TEXT NOT NULL,
    title        TEXT NOT NULL,
    metadata     TEXT NOT NULL,
    structure    TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    added_at     TEXT NOT NULL,
    chars        INTEGER NOT NULL,
    text         TEXT NOT NULL,
    UNIQUE (collection, id)
) STRICT;

CREATE TABLE facets (
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    kind     TEXT NOT NULL,
    value    ANY NOT NULL,
    PRIMARY KEY (document, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX facets_by_value ON facets (key, kind, value);

CREATE TABLE chunks (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    document   INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    ordinal    INTEGER NOT NULL,
    start_char INTEGER NOT NULL,
    end_char   INTEGER NOT NULL,
    page       INTEGER,
    crc        INTEGER NOT NULL,
    headings   TEXT NOT NULL,
    text       TEXT NOT NULL,
    UNIQUE (document, ordinal)
) STRICT;

CREATE TABLE vectors (
    chunk  INTEGER PRIMARY KEY REFERENCES chunks (id) ON DELETE CASCADE,
    crc    INTEGER NOT NULL,
    vector BLOB NOT NULL
) STRICT;

CREATE TABLE staged (
    encoder   TEXT NOT NULL,
    text_hash BLOB NOT NULL,
    staged_at TEXT NOT NULL,
    crc       INTEGER NOT NULL,
    vector    BLOB NOT NULL,
    PRIMARY KEY (encoder, text_hash)
) STRICT, WITHOUT ROWID;

CREATE VIEW chunk_words AS
    SELECT chunks.id AS id, chunks.document AS document, documents.title AS title, chunks.headings AS headings, chunks.text AS text
    FROM chunks JOIN documents ON documents.number = chunks.document;

CREATE VIRTUAL TABLE chunk_index USING fts5 (
    title, headings, text, content = 'chunk_words', content_rowid = 'id', tokenize = '{TOKENIZER}'
);
"""  # noqa: S608 - a constant

# Every place of every term; made anew for each connection, and stored nowhere.
TEMPORARY_SCHEMA: Final = "CREATE VIRTUAL TABLE temp.chunk_terms USING fts5vocab(main, chunk_index, instance)"
