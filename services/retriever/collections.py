"""Rows of `collections`, inside a transaction that the caller holds."""

# What is put into statements are constants and question marks; every value is bound.

import sqlite3

from core.schemas import DEFAULT_COLLECTION, Collection, CollectionSettings
from services.clock import now

_ROWS = "SELECT name, settings, created_at, documents, chunks FROM collections"


def create(connection: sqlite3.Connection, name: str, settings: CollectionSettings) -> None:
    """Create the collection, or give it these settings."""
    connection.execute(
        "INSERT INTO collections (name, settings, created_at) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET settings = excluded.settings",
        (name, settings.model_dump_json(), now()),
    )


def ensure(connection: sqlite3.Connection, name: str) -> None:
    """Create the collection with the settings of all, unless it is there."""
    connection.execute(
        "INSERT OR IGNORE INTO collections (name, settings, created_at) VALUES (?, ?, ?)", (name, CollectionSettings().model_dump_json(), now())
    )


def settings_of(connection: sqlite3.Connection, name: str) -> CollectionSettings | None:
    """The settings of the collection, if it is there."""
    row = connection.execute("SELECT settings FROM collections WHERE name = ?", (name,)).fetchone()
    return CollectionSettings.model_validate_json(row[0]) if row else None


def find(connection: sqlite3.Connection, name: str) -> Collection | None:
    """The collection, if it is there."""
    row = connection.execute(f"{_ROWS} WHERE name = ?", (name,)).fetchone()
    return _collection(row) if row else None


def read_all(connection: sqlite3.Connection) -> tuple[Collection, ...]:
    """All collections, by name."""
    return tuple(map(_collection, connection.execute(f"{_ROWS} ORDER BY name")))


def missing(connection: sqlite3.Connection, names: list[str]) -> list[str]:
    """Those of `names` that no collection has; the default collection is always there."""
    return [name for name in names if name != DEFAULT_COLLECTION and settings_of(connection, name) is None]


def count(connection: sqlite3.Connection, name: str, documents: int, chunks: int) -> None:
    """Add to what the collection counts."""
    connection.execute("UPDATE collections SET documents = documents + ?, chunks = chunks + ? WHERE name = ?", (documents, chunks, name))


def remove(connection: sqlite3.Connection, name: str) -> None:
    """Remove the collection, which is empty."""
    connection.execute("DELETE FROM collections WHERE name = ?", (name,))


def _collection(row: tuple[str, str, str, int, int]) -> Collection:
    name, settings, created_at, documents, chunks = row
    return Collection(name=name, settings=CollectionSettings.model_validate_json(settings), documents=documents, chunks=chunks, created_at=created_at)
