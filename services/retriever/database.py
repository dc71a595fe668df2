"""The SQLite database under the store: its connections and its transactions, and SQLite's errors in our words."""

import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from core.errors import EkibenError, Internal, InvalidSettings, NotReady, StorageFull, StoreCorrupt
from services.retriever.schema import SCHEMA, SCHEMA_VERSION

BUSY_TIMEOUT_MS: Final = 5_000
CACHE_KIB: Final = 16_384
VACUUM_PAGES: Final = 2_048

# Where the disk runs out of space SQLite mostly says SQLITE_FULL; a quota, and a file that can't grow under a memory map, look like these.
_NO_SPACE: Final = frozenset({sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_SHMSIZE})
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNUSABLE: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM})
_PRIMARY_CODE: Final = 0xFF


class Database:
    """One writer and any number of readers of a database, all of this process, which holds the folder's lock. Thread-safe.

    Readers are taken from a pool instead of being bound to threads: worker threads come and go, and a connection would outlive each.

    What a commit has written is on the disk when it returns, after a power loss too: write-ahead log with `synchronous = FULL`, that is one
    fsync of the log a commit (`fullfsync` for macOS). Deleted rows are overwritten with zeros (`secure_delete`), and their pages can be
    given back in steps (`auto_vacuum = INCREMENTAL`). benchmarks/durability.py tells what each of these costs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._readers: deque[sqlite3.Connection] = deque()
        self._writing = threading.Lock()
        self._closed = False
        self._writer = self._connect()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the database at `path`, creating it where it is missing.

        Raises InvalidSettings where the file can't be used or another version wrote it, StoreCorrupt where it is no database.
        """
        with ExitStack() as undo, translating(path.parent, opening=True):
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
        with translating(self.path.parent), self._writing:
            self._require_open()
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def give_back_pages(self) -> bool:
        """Take up to 2,048 free pages off the end of the file; True where there are more."""
        with translating(self.path.parent), self._writing:
            self._require_open()
            self._writer.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
            return bool(self._writer.execute("PRAGMA freelist_count").fetchone()[0])

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
        with translating(self.path.parent):
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
        with translating(self.path.parent), self._writing:
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


@contextmanager
def translating(data_dir: Path, *, opening: bool = False) -> Iterator[None]:
    """Raise what SQLite raises inside as an error of ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise translated(error, data_dir, opening=opening) from error


def translated(error: sqlite3.Error, data_dir: Path, *, opening: bool = False) -> EkibenError:
    """StorageFull, StoreCorrupt or Internal; while `opening`, InvalidSettings where the file can't be opened or written."""
    # Only errors that SQLite itself reports have a code; misuse found by Python's module has none.
    extended: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    primary = extended & _PRIMARY_CODE
    if primary == sqlite3.SQLITE_FULL or extended in _NO_SPACE:
        return StorageFull(f"no space left for the store in {data_dir} ({error}): free some space and try again")
    if primary in _DAMAGE or "fts5" in str(error):  # a damaged full-text index is reported as a plain error
        return StoreCorrupt(
            f"the store in {data_dir} is damaged ({error}): `ekiben verify --data {data_dir}` says where, `ekiben repair` mends what is derived; "
            "else restore a backup with `ekiben restore`"
        )
    if opening and primary in _UNUSABLE:
        return InvalidSettings(f"the store in {data_dir} can't be opened for writing ({error}): check the folder (retriever.data_dir) and its owner")
    return Internal(f"SQLite: {type(error).__name__}: {error} (store in {data_dir})")
