"""The SQLite database under the store: its lock, its connections and its transactions, and SQLite's errors in our words."""

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from filelock import FileLock, Timeout

from core.errors import EkibenError, Internal, InvalidSettings, NotReady, StorageFull, StoreCorrupt, StoreLocked
from services.retriever.schema import SCHEMA, SCHEMA_VERSION

FILE_NAME: Final = "ekiben.db"
LOCK_NAME: Final = "ekiben.lock"
PID_NAME: Final = "ekiben.pid"
BUSY_TIMEOUT_MS: Final = 5_000
CACHE_KIB: Final = 16_384

# Where the disk runs out of space SQLite mostly says SQLITE_FULL; a quota, and a file that can't grow under a memory map, look like these.
_NO_SPACE: Final = frozenset({sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_SHMSIZE})
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNUSABLE: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM})
_PRIMARY_CODE: Final = 0xFF


class Database:
    """One writer and any number of readers of `data_dir`/ekiben.db, all of this process. Thread-safe.

    Readers are taken from a pool instead of being bound to threads: worker threads come and go, and a connection would outlive each.
    """

    def __init__(self, data_dir: Path, lock: FileLock) -> None:
        self.path = data_dir / FILE_NAME
        self._lock = lock
        self._readers: deque[sqlite3.Connection] = deque()
        self._writing = threading.Lock()
        self._closed = False
        self._writer = self._connect()

    @classmethod
    def open(cls, data_dir: Path) -> Self:
        """Open the database in `data_dir`, creating both where they are missing.

        Raises StoreLocked while another process (or another Database of this one) has it open, InvalidSettings where the folder can't be used
        or a newer version wrote it, StoreCorrupt where the file is no database.
        """
        lock = _lock_folder(data_dir)
        with ExitStack() as undo, translating(data_dir, opening=True):
            undo.callback(lock.release)
            database = cls(data_dir, lock)
            undo.callback(database._writer.close)
            database._prepare()
            undo.pop_all()
        return database

    def close(self) -> None:
        """Close all connections and release the lock; waits for a running write. A read that still runs closes its connection itself."""
        with self._writing:
            self._closed = True
            while self._readers:
                self._readers.pop().close()
            self._writer.close()
        self._lock.release()

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
        return connection

    def _prepare(self) -> None:
        """Create the tables in a new database, or check that this version can read the ones that are there."""
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise InvalidSettings(
                f"the store {self.path} has schema version {version}, this Ekiben reads up to {SCHEMA_VERSION}: "
                "upgrade Ekiben, or use another folder (retriever.data_dir)"
            )
        self._writer.execute("PRAGMA journal_mode = WAL")
        if version == 0:
            # One script, because `executescript` would commit a transaction begun outside of it.
            self._writer.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


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
        return StorageFull(f"no space left for the store in {data_dir} ({error}): nothing of this change was kept; free some space and try again")
    if primary in _DAMAGE:
        return StoreCorrupt(f"the store in {data_dir} is damaged ({error}): restore {FILE_NAME} from a backup, or ingest into a new folder")
    if opening and primary in _UNUSABLE:
        return InvalidSettings(f"the store in {data_dir} can't be opened for writing ({error}): check the folder (retriever.data_dir) and its owner")
    return Internal(f"SQLite: {type(error).__name__}: {error} (store in {data_dir})")


def _lock_folder(data_dir: Path) -> FileLock:
    """The writer lock of `data_dir`, held; the folder is created where it is missing."""
    # Not bound to a thread, because a service opens its store in one thread and closes it in another.
    lock = FileLock(data_dir / LOCK_NAME, thread_local=False)
    holder = data_dir / PID_NAME
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        holder.write_text(str(os.getpid()))
    except Timeout as error:
        raise StoreLocked(
            f"another process{_pid_in(holder)} writes to the store in {data_dir}: stop it, or use another folder (retriever.data_dir)"
        ) from error
    except OSError as error:
        lock.release()
        raise InvalidSettings(f"the folder {data_dir} can't be used for the store ({error}): name another one (retriever.data_dir)") from error
    return lock


def _pid_in(holder: Path) -> str:
    """` (pid N)` where the holder of the lock has already written it down."""
    try:
        return f" (pid {int(holder.read_text())})"
    except (OSError, ValueError):
        return ""
