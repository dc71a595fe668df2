"""The SQLite database of the jobs: its schema, its transactions, and what shows that it is whole."""

import json
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from zlib import crc32

from core.errors import InvalidSettings
from services.committed import COMMITTED_NAME, note_commits, noted_commits
from services.sqlite_errors import Place, damage
from services.sqlite_schema import require_schema

_SCHEMA_VERSION: Final = 2
_BUSY_TIMEOUT_MS: Final = 5_000

# An item is a row until it has come to its end; `turn` is the place of a job in the round of those that wait. `crc` is of the columns that
# stand before it.
_SCHEMA: Final = """
CREATE TABLE meta (
    id TEXT NOT NULL,
    commits INTEGER NOT NULL
);
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
    failed INTEGER NOT NULL DEFAULT 0,
    crc INTEGER NOT NULL DEFAULT 0
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
    sha256 TEXT NOT NULL,
    crc INTEGER NOT NULL,
    starts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, ordinal)
) WITHOUT ROWID;
CREATE TABLE errors (
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    result TEXT NOT NULL,
    crc INTEGER NOT NULL
);
CREATE INDEX errors_by_job ON errors (job);
"""
_CHECKED: Final = ("jobs", "items", "errors")


class Database:
    """One connection, used by one thread at a time. What a transaction has written is on the disk when it returns.

    Damage is found when the database is opened: SQLite's own check of pages and indexes, a checksum a row, and the number of commits that were
    acknowledged, because SQLite takes a lost log for the end of it. Later a whole row (`SELECT *`) is checked when it is read. Not noticed is
    damage of `items.starts`, with which an item is tried more often or less, and of `meta` together with COMMITTED.
    """

    def __init__(self, path: Path, *, may_be_new: bool) -> None:
        """Open the database at `path`, and create it where it is missing and `may_be_new`.

        Raises InvalidSettings where the file can't be used or another version wrote it, StoreCorrupt where it is damaged or lost commits.
        """
        way_out = "move the folder away (it keeps the uploads, under `spool`), restart, and send again what was not finished"
        self._place = Place("queue of jobs", path.parent, "jobs.data_dir", way_out)
        self._lock = threading.Lock()
        self._id = ""
        with self._place.translating(opening=True):
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = _checked_row
            try:
                self._prepare(may_be_new=may_be_new and not (path.parent / COMMITTED_NAME).exists())
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, *, may_be_new: bool) -> None:
        for pragma in (f"busy_timeout = {_BUSY_TIMEOUT_MS}", "foreign_keys = ON", "journal_mode = WAL", "synchronous = FULL", "fullfsync = ON"):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            if not may_be_new:
                raise self._place.damaged("its database is missing or empty")
            self._create()
        elif version != _SCHEMA_VERSION:
            raise InvalidSettings(
                f"the jobs in {self._place.folder} have schema version {version}, this Ekiben reads {_SCHEMA_VERSION}: "
                "use the version of Ekiben that wrote them, or another folder (jobs.data_dir)"
            )
        self._require_sound()

    def _create(self) -> None:
        # One script, because `executescript` would commit a transaction begun outside of it.
        first = f"INSERT INTO meta VALUES ('{uuid.uuid4().hex}', 0);"  # noqa: S608
        self._connection.executescript(f"BEGIN; {_SCHEMA} {first} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")

    def _require_sound(self) -> None:
        require_schema(self._connection, _SCHEMA)
        for (finding,) in self._connection.execute("PRAGMA integrity_check"):
            if finding != "ok":
                raise self._place.damaged(finding)
        for table in _CHECKED:
            for _ in self._connection.execute(f"SELECT * FROM {table}"):  # noqa: S608 - names of our tables
                pass  # each row is checked as it comes
        self._require_commits()

    def _require_commits(self) -> None:
        rows = self._connection.execute("SELECT id, commits FROM meta").fetchall()
        if len(rows) != 1:
            raise self._place.damaged(f"it has {len(rows)} ids")
        self._id, commits = rows[0]
        noted = noted_commits(self._place.folder)
        if noted and noted.name != self._id:
            raise self._place.damaged(f"its database is {self._id}, and {COMMITTED_NAME} belongs to {noted.name}")
        if noted and noted.commits > commits:
            raise self._place.damaged(f"it has lost {noted.commits - commits} of {noted.commits} commits")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction: committed, and on the disk, when the block ends; rolled back when it raises.

        Raises StorageFull, StoreCorrupt, NotReady after `close`, and Internal for what else SQLite reports.
        """
        with self._place.translating(), self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                before = self._connection.total_changes
                yield self._connection
                commits = self._count() if self._connection.total_changes != before else None
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise
            if commits is not None:
                note_commits(self._place.folder, commits, self._id)

    def _count(self) -> int:
        return int(self._connection.execute("UPDATE meta SET commits = commits + 1 RETURNING commits").fetchone()[0])

    def close(self) -> None:
        """Close the connection; waits for a running transaction."""
        with self._lock:
            self._connection.close()


@contextmanager
def changing_job(db: sqlite3.Connection, number: int) -> Iterator[None]:
    """Every change of a row of `jobs` is made inside: the row is checked before, and has its checksum afterwards."""
    db.execute("SELECT * FROM jobs WHERE number = ?", (number,)).fetchone()
    yield
    seal_job(db, number)


def seal_job(db: sqlite3.Connection, number: int) -> None:
    """Give a row of `jobs` its checksum."""
    cursor = db.cursor()
    cursor.row_factory = None  # its checksum is not that of the row as it is now
    for *values, _ in cursor.execute("SELECT * FROM jobs WHERE number = ?", (number,)).fetchall():
        db.execute("UPDATE jobs SET crc = ? WHERE number = ?", (checksum(values), number))


def checksum(values: Sequence[object]) -> int:
    """The checksum of the columns before `crc`; finds bits that flipped, and is no protection against somebody who means to deceive."""
    return crc32(json.dumps(values, default=repr).encode())


def _checked_row(cursor: sqlite3.Cursor, values: tuple[object, ...]) -> sqlite3.Row:
    row = sqlite3.Row(cursor, values)
    at = row.keys().index("crc") if "crc" in row.keys() else None  # noqa: SIM118 - a row is no dict
    if at is not None and checksum(values[:at]) != values[at]:
        raise damage("a row is not what was written")
    return row
