"""A SQLite database of the records: one connection, a schema with a version, transactions."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.errors import InvalidSettings
from services.sqlite_errors import Place

_BUSY_TIMEOUT_MS: Final = 5_000


@dataclass(frozen=True)
class Layout:
    """The tables of a database, the version of that layout, and the pragmas that say how durable its commits are."""

    tables: str
    version: int
    pragmas: Sequence[str]


class Database:
    """One connection, used by one thread at a time."""

    def __init__(self, path: Path, place: Place, layout: Layout) -> None:
        """Open the database at `path`, creating it where it is missing.

        Raises InvalidSettings where the file can't be used or has another layout, StoreCorrupt where it is no database, StorageFull.
        """
        self._place = place
        self._lock = threading.Lock()
        with place.translating(opening=True):
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            try:
                self._prepare(layout)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, layout: Layout) -> None:
        for pragma in (f"busy_timeout = {_BUSY_TIMEOUT_MS}", "foreign_keys = ON", *layout.pragmas):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            # One script, because `executescript` would commit a transaction begun outside of it.
            self._connection.executescript(f"BEGIN; {layout.tables} PRAGMA user_version = {layout.version}; COMMIT;")
        elif version != layout.version:
            raise InvalidSettings(
                f"the {self._place.what} in {self._place.folder} has schema version {version}, this Ekiben reads {layout.version}: "
                f"use the version of Ekiben that wrote it, or another folder ({self._place.setting})"
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction: committed when the block ends, rolled back when it raises.

        Raises StorageFull, StoreCorrupt, NotReady after `close`, and Internal for what else SQLite reports.
        """
        with self._place.translating(), self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise

    def close(self) -> None:
        """Close the connection; waits for a running transaction."""
        with self._lock:
            self._connection.close()
