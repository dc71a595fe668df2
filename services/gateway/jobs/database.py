"""The SQLite database of the jobs: its schema and its transactions, and SQLite's errors in our words."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from core.errors import EkibenError, Internal, InvalidSettings, NotReady, StorageFull, StoreCorrupt

_SCHEMA_VERSION: Final = 1
_BUSY_TIMEOUT_MS: Final = 5_000
_PRIMARY_CODE: Final = 0xFF
_NO_SPACE: Final = frozenset({sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_SHMSIZE})

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
        self._folder = path.parent
        self._lock = threading.Lock()
        with _translating(self._folder, opening=True):
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
                f"the jobs in {self._folder} have schema version {version}, this Ekiben reads {_SCHEMA_VERSION}: "
                "use the version of Ekiben that wrote them, or another folder (jobs.data_dir)"
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction: committed, and on the disk, when the block ends; rolled back when it raises."""
        with _translating(self._folder), self._lock:
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


@contextmanager
def _translating(folder: Path, *, opening: bool = False) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error, folder, opening=opening) from error


def _translated(error: sqlite3.Error, folder: Path, *, opening: bool) -> EkibenError:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None and isinstance(error, sqlite3.ProgrammingError):  # "Cannot operate on a closed database."
        return NotReady(f"the jobs in {folder} are closed: the service is shutting down")
    primary = (code or sqlite3.SQLITE_ERROR) & _PRIMARY_CODE
    if primary == sqlite3.SQLITE_FULL or code in _NO_SPACE:
        return StorageFull(f"no space left for the jobs in {folder} ({error}): nothing of this change was kept; free some space and try again")
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorrupt(f"jobs.db in {folder} is damaged ({error}): move the folder away, restart, and send again what was not finished")
    if opening and primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return InvalidSettings(f"jobs.db in {folder} can't be opened for writing ({error}): check the folder (jobs.data_dir) and its owner")
    return Internal(f"SQLite: {type(error).__name__}: {error} (jobs in {folder})")
