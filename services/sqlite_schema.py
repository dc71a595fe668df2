"""Whether a database has the tables that were made in it: a bit that flips in the name of a column is no damage to SQLite."""

import sqlite3
from contextlib import closing
from functools import cache
from typing import Final

from services.sqlite_errors import damage

# What a virtual table makes for itself differs between versions of SQLite.
_MADE_BY_SQLITE: Final = ("sqlite_", "chunk_index_")


def require_schema(connection: sqlite3.Connection, script: str) -> None:
    """Raise sqlite3.DatabaseError, as SQLite does for damage that it sees, where the tables are not those that `script` makes."""
    if _tables(connection) != _made_by(script):
        raise damage("its tables are not those that were made")


@cache
def _made_by(script: str) -> frozenset[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(script)
        return _tables(connection)


def _tables(connection: sqlite3.Connection) -> frozenset[tuple[str, str]]:
    rows = connection.execute("SELECT name, sql FROM sqlite_schema")
    return frozenset((name, sql) for name, sql in rows if not str(name).startswith(_MADE_BY_SQLITE))
