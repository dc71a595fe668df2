"""Documents, vectors and settings for the tests of the Retriever."""

import hashlib
import sqlite3
from pathlib import Path

import numpy as np

from core.schemas import Chunk, Document, EncoderInfo, Scalar, SearchRequest, SplitDocument
from core.settings import RetrieverSettings
from core.vectors import Vector
from services.retriever import documents, lexical
from services.retriever.schema import SCHEMA, TEMPORARY_SCHEMA

DIM = 8
ENCODER = EncoderInfo(
    fingerprint="encoder-a", model="model-a", dim=DIM, max_tokens=256, pooling="mean", weights_sha256="0" * 64, device="cpu", dtype="float32"
)


def split(document_id: str, *texts: str, collection: str = "default", title: str = "", metadata: dict[str, Scalar] | None = None) -> SplitDocument:
    """A document of one line, and one chunk, for each of `texts`."""
    chunks, start = [], 0
    for ordinal, text in enumerate(texts):
        chunks.append(Chunk(ordinal=ordinal, start=start, end=start + len(text), text=text, page=ordinal + 1))
        start += len(text) + 1
    document = Document(id=document_id, title=title, text="\n".join(texts), metadata=metadata or {}, page_starts=(0,))
    return SplitDocument(collection=collection, document=document, chunks=tuple(chunks), encoder=ENCODER.fingerprint)


def unit_vector(text: str, dim: int = DIM) -> Vector:
    """A unit vector that stands for `text`, float32 `[dim]`: another text gives another direction."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(dim)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def vectors_of(document: SplitDocument) -> Vector:
    """One unit vector a chunk, float32 `[n_chunks, DIM]`."""
    return np.array([unit_vector(chunk.text) for chunk in document.chunks], np.float32).reshape(-1, DIM)


def retriever_settings(data_dir: Path, **changes: object) -> RetrieverSettings:
    values: dict[str, object] = {
        "url": None,
        "data_dir": data_dir,
        "candidates": 100,
        "fusion": "convex",
        "dense_weight": 0.5,
        "dense_weight_gain": 0.0,
        "rrf_k": 60,
        "exact_up_to": 1_000,
        "probes": 8,
        "compact_after": 10_000,
        "postings_mib": 16,
        "embed_timeout_s": 5,
        "rerank_candidates": 32,
        "rerank_timeout_s": 5,
        "timeout_s": 120,
    }
    return RetrieverSettings.model_validate(values | changes)


def asking(query: str, **options: object) -> SearchRequest:
    return SearchRequest.model_validate({"query": query} | options)


def database_of(*stored: SplitDocument) -> sqlite3.Connection:
    """A database in memory that holds `stored`; the chunks have the ids 1, 2, 3 in order."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.executescript(SCHEMA)
    connection.execute(TEMPORARY_SCHEMA)
    for document in stored:
        documents.insert(connection, document, document.document.hash_content(), vectors_of(document))
    return connection


def bm25_of_fts5(connection: sqlite3.Connection, query: str) -> dict[int, float]:
    """What FTS5 itself says of all chunks that hold one of the searched words of `query`."""
    expression = " OR ".join(f'"{word}"' for word in lexical.searched_words(query))
    rows = connection.execute("SELECT rowid, -rank FROM chunk_index WHERE chunk_index MATCH ? ORDER BY rank, rowid", (expression,))
    return dict(rows)
