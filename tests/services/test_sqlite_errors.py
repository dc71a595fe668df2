import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import EkibenError, Internal, InvalidSettings, StorageFull, StoreCorrupt
from core.schemas import CollectionRef
from services.sqlite_errors import Place

_PLACE = Place("store", Path("folder"), "retriever.data_dir", "the way out")


def _error(cls: type[sqlite3.Error], code: int) -> sqlite3.Error:
    error = cls("message of SQLite")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_FULL, StorageFull),
        (sqlite3.SQLITE_IOERR_WRITE, StorageFull),
        (sqlite3.SQLITE_IOERR_FSYNC, StorageFull),
        (sqlite3.SQLITE_IOERR_SHMSIZE, StorageFull),
        (sqlite3.SQLITE_CORRUPT, StoreCorrupt),
        (sqlite3.SQLITE_CORRUPT_VTAB, StoreCorrupt),
        (sqlite3.SQLITE_NOTADB, StoreCorrupt),
        (sqlite3.SQLITE_IOERR_READ, Internal),
        (sqlite3.SQLITE_CANTOPEN, Internal),
        (sqlite3.SQLITE_READONLY_DBMOVED, Internal),
        (sqlite3.SQLITE_BUSY, Internal),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, Internal),
    ],
)
def test_sqlite_codes_become_errors_of_ours(code: int, expected: type[EkibenError]) -> None:
    error = _PLACE.translated(_error(sqlite3.DatabaseError, code))
    assert type(error) is expected
    assert "message of SQLite" in error.message
    assert "folder" in error.message


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CANTOPEN_ISDIR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM])
def test_a_file_that_can_not_be_used_is_a_matter_of_settings_at_start_only(code: int) -> None:
    assert type(_PLACE.translated(_error(sqlite3.OperationalError, code), opening=True)) is InvalidSettings


def test_text_that_is_none_is_damage() -> None:
    connection = sqlite3.connect(":memory:")
    with pytest.raises(StoreCorrupt, match="the way out"), _PLACE.translating():
        connection.execute("SELECT CAST(X'ff' AS TEXT)").fetchall()
    connection.close()


@pytest.mark.parametrize("read", [lambda: json.loads("{"), b"\xff".decode, lambda: CollectionRef.model_validate_json("{")])
def test_what_is_stored_and_can_not_be_read_is_damage(read: Callable[[], object]) -> None:
    with pytest.raises(StoreCorrupt, match="the way out"), _PLACE.translating():
        read()
