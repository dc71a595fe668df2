"""What a search reads of the chunks it found: the rows to be shown and the vectors to be compared."""

# What is put into statements are constants and question marks; every value is bound.
# ruff: noqa: S608

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import StoreCorrupt
from core.schemas import ChannelScores, Passage
from core.vectors import Vector
from services.retriever.schema import ChunkIds
from services.retriever.scope import Scope

VECTORS_PER_READ = 4_096

_FOUND = """
SELECT chunks.id, documents.id, ordinal, collection, title, start_char, end_char, chunks.text, page, metadata
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

    def passage(self, score: float, scores: ChannelScores) -> Passage:
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
            metadata=json.loads(self.metadata),
            score=score,
            scores=scores,
        )


def fetch(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, FoundChunk]:
    """The chunks of `ids` by id; those that are not there any more are left out."""
    scope = Scope.of_chunks(ids)
    return {row[0]: FoundChunk(*row[1:]) for row in connection.execute(f"{_FOUND} ({scope.sql})", scope.parameters)}


def cosines(connection: sqlite3.Connection, ids: Sequence[int], vector: Vector) -> dict[int, float]:
    """The cosine of each chunk of `ids` with `vector` (float32 `[dim]`, unit), from the stored vectors.

    Not from the vector index, because that one may be a change ahead of the state that `connection` sees, or behind it.
    """
    scope = Scope.of_chunks(ids)
    rows = connection.execute(f"SELECT chunk, vector FROM vectors WHERE chunk IN ({scope.sql})", scope.parameters).fetchall()
    if not rows:
        return {}
    products = _matrix([blob for _, blob in rows], vector.size) @ vector
    return dict(zip((chunk for chunk, _ in rows), products.tolist(), strict=True))


def stored_vectors(connection: sqlite3.Connection, dim: int) -> Iterator[tuple[ChunkIds, Vector]]:
    """All ids and vectors (float32 `[n, dim]`), some thousand at a time; raises StoreCorrupt where a vector has another size."""
    cursor = connection.execute("SELECT chunk, vector FROM vectors ORDER BY chunk")
    while rows := cursor.fetchmany(VECTORS_PER_READ):
        yield np.array([chunk for chunk, _ in rows], np.int64), _matrix([blob for _, blob in rows], dim)


def _matrix(blobs: Sequence[bytes], dim: int) -> Vector:
    size = dim * np.dtype("<f4").itemsize
    wrong = next((len(blob) for blob in blobs if len(blob) != size), None)
    if wrong is not None:
        raise StoreCorrupt(f"a stored vector has {wrong} bytes instead of {size}: restore the database from a backup, or ingest into a new folder")
    return np.frombuffer(b"".join(blobs), "<f4").reshape(-1, dim)
