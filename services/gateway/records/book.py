"""The records on the disk: the newest of them, in one SQLite file."""

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from filelock import FileLock
from pydantic import ValidationError

from core.errors import AnswerNotFound, InvalidSettings, StoreCorrupt
from core.schemas import AnswerRecord
from core.settings import RecordsSettings
from services.clock import now
from services.folder_lock import hold
from services.gateway.records.database import Database, Layout
from services.sqlite_errors import Place

_TABLES: Final = """
CREATE TABLE records (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX records_by_time ON records (created_at);
"""
# Not fsynced at each commit: what a power loss takes are the last records, never the file. What is forgotten is overwritten.
_LAYOUT: Final = Layout(_TABLES, 1, ("journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON"))
_FILE: Final = "records.db"
_ASIDE: Final = "records.damaged.db"
_COMPANIONS: Final = ("", "-wal", "-shm")

log = logging.getLogger("ekiben.records")


class RecordBook:
    """The records in one folder, which this process holds. Thread-safe; every method blocks for the disk.

    A file that can't be read is set aside, in the place of the one set aside before, and a new one begun.
    """

    def __init__(self, limits: RecordsSettings, lock: FileLock) -> None:
        self._limits = limits
        self._lock = lock
        self._folder = limits.data_dir
        self._place = Place("book of answers", self._folder, "records.data_dir", "it is set aside with the next answer")
        self._database: Database | None = None
        self._opening = threading.Lock()

    @classmethod
    def open(cls, limits: RecordsSettings) -> Self:
        """Hold the folder, creating it where it is missing. Its file is opened when it is needed.

        Raises StoreLocked while another process holds the folder, InvalidSettings where it can't be used.
        """
        return cls(limits, hold(limits.data_dir, "records", "records of answers", "records.data_dir"))

    def close(self) -> None:
        """Let go of the folder."""
        if self._database is not None:
            self._database.close()
        self._lock.release()

    def keep(self, records: Sequence[AnswerRecord]) -> None:
        """Write `records` down and forget those that are too many or too old. Raises StorageFull, InvalidSettings, Internal and OSError."""
        rows = [(record.id, record.created_at, record.model_dump_json()) for record in records]
        try:
            self._write(rows)
        except StoreCorrupt as error:
            self._set_aside(error)
            self._write(rows)

    def find(self, answer_id: str) -> AnswerRecord:
        """A record; raises AnswerNotFound, StoreCorrupt where the file is damaged, StorageFull."""
        try:
            database = self._opened()
        except InvalidSettings as error:  # as at every write; the log says so
            raise AnswerNotFound(error.message) from error
        with database.transaction() as db:
            row = db.execute("SELECT record FROM records WHERE id = ?", (answer_id,)).fetchone()
        if row is None:
            kept = f"the newest {self._limits.keep} are kept for {self._limits.keep_days:g} days (records.keep, records.keep_days)"
            raise AnswerNotFound(f"there is no record of answer {answer_id[:100]!r} here: {kept}")
        try:
            return AnswerRecord.model_validate_json(row["record"])
        except ValidationError as error:
            raise AnswerNotFound(f"the record of answer {answer_id!r} was written by another version of Ekiben, this one can't read it") from error

    def _write(self, rows: Sequence[tuple[str, str, str]]) -> None:
        with self._opened().transaction() as db:
            db.executemany("INSERT OR IGNORE INTO records (id, created_at, record) VALUES (?, ?, ?)", rows)
            db.execute("DELETE FROM records WHERE number <= (SELECT max(number) FROM records) - ?", (self._limits.keep,))
            db.execute("DELETE FROM records WHERE created_at < ?", (now(timedelta(days=self._limits.keep_days)),))

    def _opened(self) -> Database:
        with self._opening:
            if self._database is None:
                self._database = Database(self._folder / _FILE, self._place, _LAYOUT)
            return self._database

    def _set_aside(self, error: StoreCorrupt) -> None:
        log.error("the records of answers are damaged; a new file is begun", extra={"error": error.message, "aside": _ASIDE})
        with self._opening:
            if self._database is not None:
                self._database.close()
                self._database = None
            for companion in _COMPANIONS:
                self._path(_ASIDE + companion).unlink(missing_ok=True)
            for companion in reversed(_COMPANIONS):  # the database last: a crash in between leaves it to be found damaged again
                with suppress(FileNotFoundError):
                    self._path(_FILE + companion).rename(self._path(_ASIDE + companion))

    def _path(self, name: str) -> Path:
        return self._folder / name
