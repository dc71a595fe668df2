"""What a search reads of the chunks it found: the rows to be shown and the vectors to be compared."""

# What is put into statements are constants and question marks; every value is bound.

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import StoreCorrupt
from core.schemas import ChannelRanks, ChannelScores, Passage
from core.vectors import Vector
from core.vectors import cosines as of_rows
from services.retriever import checksums, documents
from services.retriever.schema import ChunkIds
from services.retriever.scope import Scope

VECTORS_PER_READ = 4_096

_VECTORS = "SELECT chunk, crc, vector FROM vectors"

_FOUND = """
SELECT chunks.id, documents.id, ordinal, collection, title, start_char, end_char, chunks.text, page, metadata, headings, crc
FROM chunks JOIN documents ON documents.number = chunks.document WHERE chunks.id IN
"""


@dataclass(frozen=True)
class FoundChunk:
    """A chunk with what its passage shows of the document."""

    document_id: str
    ordinal: int
    collection: str
    title: str
    start: int
    end: int
    text: str
    page: int | None
    metadata: str
    headings: str
    crc: int

    def require_sound(self) -> None:
        """Raise StoreCorrupt where the row is not what was stored: better no answer than a false quotation."""
        if checksums.of_chunk(self.start, self.end, self.page, self.headings, self.text) != self.crc:
            raise StoreCorrupt(
                f"chunk {self.ordinal} of document {self.document_id!r} is damaged on the disk: run `ekiben verify` and `ekiben repair`, "
                "or restore a backup"
            )

    def passage(self, score: float, scores: ChannelScores, ranks: ChannelRanks) -> Passage:
        """The passage on the wire."""
        return Passage(
            document_id=self.document_id,
            chunk_id=f"{self.document_id}#{self.ordinal}",
            collection=self.collection,
            title=self.title,
            start=self.start,
            end=self.end,
            text=self.text,
            page=self.page,
            headings=documents.parted(self.headings),
            metadata=json.loads(self.metadata),
            score=score,
            scores=scores,
            ranks=ranks,
        )


def fetch(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, FoundChunk]:
    """The chunks of `ids` by id; those that are not there any more are left out. Raises StoreCorrupt where one is damaged on the disk."""
    scope = Scope.of_chunks(ids)
    found = {row[0]: FoundChunk(*row[1:]) for row in connection.execute(f"{_FOUND} ({scope.sql})", scope.parameters)}
    for chunk in found.values():
        chunk.require_sound()
    return found


def cosines(connection: sqlite3.Connection, ids: Sequence[int], vector: Vector) -> dict[int, float]:
    """The cosine of each chunk of `ids` with `vector` (float32 `[dim]`, unit), from the stored vectors.

    Not from the vector index, because that one may be a change ahead of the state that `connection` sees, or behind it.
    """
    scope = Scope.of_chunks(ids)
    rows = connection.execute(f"{_VECTORS} WHERE chunk IN ({scope.sql})", scope.parameters).fetchall()
    if not rows:
        return {}
    found, vectors = _matrix(rows, vector.size)
    return dict(zip(found.tolist(), of_rows(vectors, vector).tolist(), strict=True))


def stored_vectors(connection: sqlite3.Connection, dim: int, ids: ChunkIds) -> Iterator[tuple[ChunkIds, Vector]]:
    """Ids and vectors (float32 `[n, dim]`) of those of `ids` that are there, some thousand at a time, by id.

    Raises StoreCorrupt where a vector is damaged on the disk.
    """
    for first in range(0, ids.size, VECTORS_PER_READ):
        scope = Scope.of_chunks(ids[first : first + VECTORS_PER_READ].tolist())
        if rows := connection.execute(f"{_VECTORS} WHERE chunk IN ({scope.sql}) ORDER BY chunk", scope.parameters).fetchall():
            yield _matrix(rows, dim)


def chunk_ids(connection: sqlite3.Connection) -> ChunkIds:
    """The ids of all chunks that have a vector, rising."""
    return np.fromiter((chunk for (chunk,) in connection.execute("SELECT chunk FROM vectors ORDER BY chunk")), np.int64)


def _matrix(rows: Sequence[tuple[int, int, bytes]], dim: int) -> tuple[ChunkIds, Vector]:
    size = dim * np.dtype("<f4").itemsize
    for chunk, crc, blob in rows:
        if not checksums.is_vector(blob, size, crc):
            raise StoreCorrupt(f"the vector of chunk {chunk} is damaged on the disk: run `ekiben verify` and `ekiben repair`, or restore a backup")
    ids = np.array([chunk for chunk, _, _ in rows], np.int64)
    return ids, np.frombuffer(b"".join(blob for _, _, blob in rows), "<f4").reshape(-1, dim)
