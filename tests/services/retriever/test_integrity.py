import sqlite3

import pytest

from services.retriever.integrity import faults
from tests.services.retriever.samples import DIM, database_of, split


@pytest.fixture
def connection() -> sqlite3.Connection:
    connection = database_of(split("one", "first chunk", "second chunk", metadata={"n": 1}), split("two", "third chunk"))
    connection.execute("PRAGMA foreign_keys = OFF")  # the faults are planted behind SQLite's back
    return connection


def test_a_sound_store_has_no_faults(connection: sqlite3.Connection) -> None:
    assert list(faults(connection, DIM)) == []
    assert list(faults(database_of(), None)) == []


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("DELETE FROM vectors WHERE chunk = 2", ["chunk 2 has no vector"]),
        ("UPDATE vectors SET vector = x'00' WHERE chunk = 3", ["the vector of chunk 3 is not the one of 32 bytes that was stored"]),
        ("INSERT INTO vectors VALUES (9, 420107693, zeroblob(32))", ["row 9 of vectors belongs to nothing in chunks"]),
        ("UPDATE chunks SET end_char = 900 WHERE id = 2", ["document 'one' of collection 'default': chunk 1 is at 12 to 900, outside of"]),
        ("UPDATE chunks SET start_char = -1 WHERE id = 1", ["chunk 0 is at -1 to 11, outside of the text's 24 characters"]),
        ("UPDATE chunks SET end_char = 0 WHERE id = 1", ["chunk 0 is at 0 to 0, outside of"]),
        ("UPDATE chunks SET start_char = 1 WHERE id = 1", ["chunk 0 is not the text at 1 to 11"]),
        ("UPDATE documents SET chars = 5 WHERE id = 'two'", ["document 'two' of collection 'default': has 11 characters instead of 5"]),
        ("UPDATE facets SET kind = 'boolean'", ["document 'one' of collection 'default': what filters see of its metadata"]),
        ("DELETE FROM facets", ["document 'one' of collection 'default': what filters see of its metadata"]),
        ("INSERT INTO chunk_index (rowid, title, text) VALUES (77, '', 'nowhere')", ["the full-text index doesn't agree"]),
        (
            "UPDATE documents SET title = 'other' WHERE id = 'one'",
            ["the full-text index doesn't agree", "document 'one' of collection 'default': is damaged"],
        ),
        ("UPDATE documents SET text = 'x' || substr(text, 2) WHERE id = 'one'", ["document 'one' of collection 'default': is damaged"]),
        ("UPDATE chunks SET page = 7 WHERE id = 1", ["chunk 0 is not the one that was stored"]),
        ("UPDATE vectors SET vector = zeroblob(32) WHERE chunk = 3", ["the vector of chunk 3 is not the one of 32 bytes that was stored"]),
        ("UPDATE collections SET chunks = 9", ["collection 'default' counts 2 documents and 9 chunks instead of"]),
        ("INSERT INTO chunk_index (chunk_index, rowid, title, text) VALUES ('delete', 1, '', 'first chunk')", ["the full-text index doesn't agree"]),
        (
            "DELETE FROM documents WHERE id = 'two'",
            ["row 3 of chunks belongs to nothing in documents", "the full-text index doesn't agree", "counts 2 documents"],
        ),
    ],
)
def test_a_planted_fault_is_found(connection: sqlite3.Connection, damage: str, expected: list[str]) -> None:
    connection.execute(damage)
    found = list(faults(connection, DIM))
    assert len(found) == len(expected)
    assert all(part in fault for part, fault in zip(expected, found, strict=True)), found


def test_what_sqlite_finds_is_passed_on(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("DELETE FROM sqlite_schema WHERE name = 'facets_by_value'")
    connection.execute("PRAGMA writable_schema = RESET")
    assert any(fault.startswith("SQLite: ") for fault in faults(connection, DIM))
