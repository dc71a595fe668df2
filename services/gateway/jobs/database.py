"""The SQLite database of the jobs: its schema and its transactions."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from core.errors import InvalidSettings
from services.sqlite_errors import Place

_SCHEMA_VERSION: Final = 1
_BUSY_TIMEOUT_MS: Final = 5_000

# An item is a row until it has come to its end; `turn` is the place of a job in the round of those that wait.
_SCHEMA: Final = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    collection TEXT NOT NULL,
    fields TEXT NOT NULL,
    state TEXT NOT NULL,
    turn INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT,
    items INTEGER NOT NULL,
    items_done INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL DEFAULT 0,
    updated INTEGER NOT NULL DEFAULT 0,
    unchanged INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX jobs_by_turn ON jobs (turn) WHERE finished_at IS NULL;
CREATE INDEX jobs_by_end ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE TABLE items (
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    ordinal INTEGER NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    repeated INTEGER NOT NULL,
    file TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    starts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, ordinal)
) WITHOUT ROWID;
CREATE TABLE errors (
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    result TEXT NOT NULL
);
CREATE INDEX errors_by_job ON errors (job);
"""


class Database:
    """One connection, used by one thread at a time. What a transaction has written is on the disk when it returns."""

    def __init__(self, path: Path) -> None:
        self._place = Place("queue of jobs", path.parent, "jobs.data_dir", "move the folder away, restart, and send again what was not finished")
        self._lock = threading.Lock()
        with self._place.translating(opening=True):
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        for pragma in (f"busy_timeout = {_BUSY_TIMEOUT_MS}", "foreign_keys = ON", "journal_mode = WAL", "synchronous = FULL", "fullfsync = ON"):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")
        elif version != _SCHEMA_VERSION:
            raise InvalidSettings(
                f"the jobs in {self._place.folder} have schema version {version}, this Ekiben reads {_SCHEMA_VERSION}: "
                "use the version of Ekiben that wrote them, or another folder (jobs.data_dir)"
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction: committed, and on the disk, when the block ends; rolled back when it raises."""
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
