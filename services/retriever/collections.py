"""Rows of `collections`, inside a transaction that the caller holds."""

# What is put into statements are constants and question marks; every value is bound.

import sqlite3

from pydantic import ValidationError

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


def damaged(connection: sqlite3.Connection) -> list[bytes]:
    """The names, as they stand there, of collections that can't be read."""
    rows = connection.execute("SELECT CAST(name AS BLOB), CAST(settings AS BLOB), CAST(created_at AS BLOB) FROM collections").fetchall()
    return [row[0] for row in rows if not _is_readable(*row)]


def reset(connection: sqlite3.Connection, name: bytes) -> None:
    """Give a collection that can't be read the settings of all; where its name can't be read, remove it."""
    if _is_text(name):
        connection.execute(
            "UPDATE collections SET settings = ?, created_at = ? WHERE CAST(name AS BLOB) = ?", (CollectionSettings().model_dump_json(), now(), name)
        )
    else:
        connection.execute("DELETE FROM collections WHERE CAST(name AS BLOB) IS ?", (name,))


def _is_readable(name: bytes | None, settings: bytes | None, created_at: bytes | None) -> bool:
    try:
        CollectionSettings.model_validate_json(settings or b"")
    except ValidationError:
        return False
    return _is_text(name) and _is_text(created_at)


def _is_text(value: bytes | None) -> bool:
    try:
        return value is not None and value.decode() != ""
    except UnicodeDecodeError:
        return False


def _collection(row: tuple[str, str, str, int, int]) -> Collection:
    name, settings, created_at, documents, chunks = row
    return Collection(name=name, settings=CollectionSettings.model_validate_json(settings), documents=documents, chunks=chunks, created_at=created_at)
