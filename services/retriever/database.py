"""The SQLite database under the store: its connections and its transactions."""

import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from core.errors import InvalidSettings, NotReady
from services.retriever.schema import SCHEMA, SCHEMA_VERSION, TEMPORARY_SCHEMA
from services.sqlite_errors import Place
from services.sqlite_schema import require_schema

BUSY_TIMEOUT_MS: Final = 5_000
CACHE_KIB: Final = 16_384
VACUUM_PAGES: Final = 2_048


class Database:
    """One writer and any number of readers of a database, all of this process, which holds the folder's lock. Thread-safe.

    Readers are taken from a pool instead of being bound to threads: worker threads come and go, and a connection would outlive each.

    What a commit has written is on the disk when it returns, after a power loss too: write-ahead log with `synchronous = FULL`, that is one
    fsync of the log a commit (`fullfsync` for macOS). Deleted rows are overwritten with zeros (`secure_delete`), and their pages can be
    given back in steps (`auto_vacuum = INCREMENTAL`). benchmarks/durability.py tells what each of these costs.

    What is damaged later is noticed when a document is got or a passage quoted: both carry checksums. Damage of an index (words, filters, names)
    may hide a document until `verify` tells of it; that of `added_at`, the times of collections and their settings is not noticed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = place(path.parent)
        self._readers: deque[sqlite3.Connection] = deque()
        self._writing = threading.Lock()
        self._closed = False
        self._writer = self._connect()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the database at `path`, creating it where it is missing.

        Raises InvalidSettings where the file can't be used or another version wrote it, StoreCorrupt where it is no database.
        """
        with ExitStack() as undo, place(path.parent).translating(opening=True):
            database = cls(path)
            undo.callback(database._writer.close)
            database._prepare()
            undo.pop_all()
        return database

    def close(self) -> None:
        """Close all connections; waits for a running write. A read that still runs closes its connection itself."""
        with self._writing:
            self._closed = True
            while self._readers:
                self._readers.pop().close()
            self._writer.close()

    def checkpoint(self) -> None:
        """Move what stands in the write-ahead log into the database and empty the log, as far as readers allow."""
        with self._place.translating(), self._writing:
            self._require_open()
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def give_back_pages(self) -> bool:
        """Take up to 2,048 free pages off the end of the file; True where there are more, and some were taken."""
        # In a transaction of ours: where the disk is full, the statement alone reports nothing, and takes nothing.
        with self.writing() as connection:
            before = _free_pages(connection)
            connection.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
            return 0 < _free_pages(connection) < before

    def sizes(self) -> tuple[int, int]:
        """Bytes of the database with its log, and bytes of its free pages."""
        with self.reading() as connection:
            free, page = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("freelist_count", "page_size"))
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists()), free * page

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one committed state for as long as it is held, whatever is written meanwhile."""
        self._require_open()
        with self._place.translating():
            connection = self._take_reader()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                connection.rollback()
                self._give_back(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction: committed, and on the disk, when the block ends; rolled back when it raises."""
        with self._place.translating(), self._writing:
            self._require_open()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                self._writer.rollback()
                raise

    def _require_open(self) -> None:
        if self._closed:
            raise NotReady(f"the store in {self.path.parent} is closed: the service is shutting down")

    def _take_reader(self) -> sqlite3.Connection:
        try:
            return self._readers.pop()
        except IndexError:
            connection = self._connect()
            connection.execute(TEMPORARY_SCHEMA)
            connection.execute("PRAGMA query_only = ON")
            return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        self._readers.append(connection)
        if self._closed and self._readers:
            self._readers.pop().close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA secure_delete = ON")
        return connection

    def _prepare(self) -> None:
        """Create the tables in a new database, or check that this version can read the ones that are there."""
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise InvalidSettings(
                f"the store {self.path} has schema version {version}, this Ekiben reads {SCHEMA_VERSION}: "
                "use the version of Ekiben that wrote it, or ingest into another folder (retriever.data_dir)"
            )
        if version == 0:
            # Before the first table; and one script, because `executescript` would commit a transaction begun outside of it.
            self._writer.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        self._writer.execute("PRAGMA journal_mode = WAL")
        require_schema(self._writer, SCHEMA)


def _free_pages(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def place(data_dir: Path) -> Place:
    """What the messages of SQLite's errors say of a store."""
    way_out = f"`ekiben verify --data {data_dir}` says where, `ekiben repair` mends what is derived; else restore a backup with `ekiben restore`"
    return Place("store", data_dir, "retriever.data_dir", way_out)
