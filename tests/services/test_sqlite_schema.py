import sqlite3
from collections.abc import Iterator

import pytest

from services.retriever.schema import SCHEMA
from services.sqlite_schema import require_schema


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:")
    opened.executescript(SCHEMA)
    yield opened
    opened.close()


def test_the_tables_that_were_made_are_those(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TEMP TABLE another (a)")
    connection.execute("ANALYZE")
    require_schema(connection, SCHEMA)


@pytest.mark.parametrize(
    "harm",
    ["ALTER TABLE chunks RENAME COLUMN crc TO crb", "DROP INDEX facets_by_value", "CREATE TABLE another (a)", "DROP TABLE staged"],
)
def test_other_tables_are_damage(connection: sqlite3.Connection, harm: str) -> None:
    connection.execute(harm)
    with pytest.raises(sqlite3.DatabaseError, match="tables") as error:
        require_schema(connection, SCHEMA)
    assert error.value.sqlite_errorcode == sqlite3.SQLITE_CORRUPT


def test_a_name_that_is_no_text_any_more_is_damage(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_schema SET sql = CAST(replace(sql, 'ordinal', CAST(X'ff' AS TEXT)) AS TEXT) WHERE name = 'chunks'")
    with pytest.raises(sqlite3.DatabaseError):
        require_schema(connection, SCHEMA)
