"""Rows of `staged`: vectors of passages that wait for their document, inside a transaction that the caller holds."""

# What is put into statements are constants and question marks; every value is bound.
# ruff: noqa: S608

import hashlib
import sqlite3
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from core.vectors import Vector
from services.clock import now
from services.retriever import checksums

_KEPT = timedelta(days=7)
_AT_ONCE = 500


def keep(connection: sqlite3.Connection, encoder: str, texts: Sequence[str], vectors: Vector) -> None:
    """Stage `vectors`, float32 `[n, dim]`, of `texts`."""
    rows = [(encoder, _hash(text), now(), *checksums.of_vector(vector)) for text, vector in zip(texts, vectors, strict=True)]
    connection.executemany("INSERT OR REPLACE INTO staged (encoder, text_hash, staged_at, crc, vector) VALUES (?, ?, ?, ?, ?)", rows)


def find(connection: sqlite3.Connection, encoder: str, texts: Sequence[str]) -> dict[str, Vector]:
    """The staged vectors, float32 `[dim]`, of those of `texts` that have one; one that is damaged on the disk counts as none."""
    by_hash = {_hash(text): text for text in texts}
    hashes = list(by_hash)
    found: dict[str, Vector] = {}
    for first in range(0, len(hashes), _AT_ONCE):
        part = hashes[first : first + _AT_ONCE]
        marks = ", ".join("?" * len(part))
        rows = connection.execute(f"SELECT text_hash, crc, vector FROM staged WHERE encoder = ? AND text_hash IN ({marks})", (encoder, *part))
        found |= {by_hash[text_hash]: np.frombuffer(blob, "<f4") for text_hash, crc, blob in rows if checksums.crc32(blob) == crc}
    return found


def forget(connection: sqlite3.Connection, encoder: str, texts: Sequence[str]) -> None:
    """Remove the staged vectors of `texts`."""
    connection.executemany("DELETE FROM staged WHERE encoder = ? AND text_hash = ?", [(encoder, _hash(text)) for text in texts])


def forget_old(connection: sqlite3.Connection) -> None:
    """Remove what was staged a week ago: its document never came."""
    connection.execute("DELETE FROM staged WHERE staged_at < ?", (now(_KEPT),))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
