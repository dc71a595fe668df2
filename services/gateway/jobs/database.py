"""The SQLite database of the jobs."""

from pathlib import Path
from typing import Final

from services.gateway.database import Database, Layout
from services.sqlite_errors import Place

# An item is a row until it has come to its end; `turn` is the place of a job in the round of those that wait.
_TABLES: Final = """
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
# What a transaction has written is on the disk when it returns.
_LAYOUT: Final = Layout(_TABLES, 1, ("journal_mode = WAL", "synchronous = FULL", "fullfsync = ON"))


def open_database(path: Path) -> Database:
    """The database at `path`, created where it is missing; raises as `Database` does."""
    place = Place("queue of jobs", path.parent, "jobs.data_dir", "move the folder away, restart, and send again what was not finished")
    return Database(path, place, _LAYOUT)
