"""The data folder: its lock, which of its databases is the store, and how many commits that one must hold.

ekiben.lock        held by the one process that writes; ekiben.pid names it
CURRENT            the name of the store's database
store-N.db         the store; a higher N than CURRENT's is being built by a reindexing
COMMITTED          how many commits were acknowledged
vectors-*.faiss    snapshot of the vector index, named by the store
incoming.db        a backup that waits to become the store
"""

import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from filelock import FileLock

from core.errors import StorageFull, StoreCorrupt
from services.committed import COMMITTED_NAME, note_commits, noted_commits
from services.durable import rename_durably, sync_folder, write_durably
from services.folder_lock import hold

LOCK_NAME: Final = "ekiben"
CURRENT_NAME: Final = "CURRENT"
INCOMING_NAME: Final = "incoming.db"
_STORE_NAME: Final = re.compile(r"store-(\d{1,9})\.db")
# A store with nothing in it is a tenth of this.
_UNFINISHED_BYTES: Final = 1_048_576

log = logging.getLogger("ekiben.retriever")


class DataFolder:
    """One data folder, held by this process. Not thread-safe: the engine changes it under its own lock."""

    def __init__(self, path: Path, lock: FileLock, name: str) -> None:
        self.path = path
        self._lock = lock
        self._name = name

    @classmethod
    def open(cls, path: Path, *, mending: bool = False) -> Self:
        """Lock the folder, creating it where it is missing. `mending` takes one without a store that can be named: its youngest, or `find_store`.

        Raises StoreLocked while another process (or another DataFolder of this one) holds it, InvalidSettings where it can't be used,
        StoreCorrupt where CURRENT is damaged or names a database that isn't there.
        """
        lock = hold(path, LOCK_NAME, "store", "retriever.data_dir")
        with ExitStack() as undo:
            undo.callback(lock.release)
            folder = cls(path, lock, _youngest(path) if mending else current_name(path))
            if folder.is_new and not mending:
                folder.discard_unfinished()
            undo.pop_all()
        return folder

    @property
    def database(self) -> Path:
        """The store's database. In a new folder it is not there yet; whoever has made it calls `switch`."""
        return self.path / self._name

    @property
    def is_new(self) -> bool:
        """Whether no store was ever made here."""
        return not (self.path / CURRENT_NAME).exists()

    @property
    def incoming(self) -> Path:
        """Where a backup waits to become the store."""
        return self.path / INCOMING_NAME

    def refuse_incoming(self) -> None:
        """Delete the backup that waits."""
        with _disk_errors(self.path):
            self.incoming.unlink(missing_ok=True)

    def place_incoming(self, database: Path) -> None:
        """Give the backup that waits its place as `database`."""
        with _disk_errors(self.path):
            discard(database)
            rename_durably(self.incoming, database)

    def next_database(self, ahead: int = 1) -> Path:
        """A database that is to become the store: 1 ahead is the one that a reindexing builds, or goes on building."""
        return self.path / f"store-{_number(self._name) + ahead}.db"

    def switch(self, database: Path) -> None:
        """Make `database`, which is whole and on the disk, the store: this is the moment at which a reader after a crash finds it."""
        with _disk_errors(self.path):
            sync_folder(self.path)  # the database has to be there before it is named
            write_durably(self.path / CURRENT_NAME, f"{database.name}\n".encode())
        self._name = database.name

    def find_store(self) -> bool:
        """Find out which database is the store where CURRENT may not tell; whether it does. If not, whoever is sure of it calls `switch`.

        It is the database whose commits were acknowledged last, and where that is not known the youngest one that is whole. Raises
        StoreCorrupt where there is none.
        """
        try:
            self._name = current_name(self.path)
            if not self.is_new:
                return True
        except StoreCorrupt:
            pass
        self._name = _surviving_name(self.path)
        return False

    def discard_unfinished(self) -> None:
        """Delete what is left of a first start that was cut short."""
        for path in databases(self.path):
            discard(path)

    def discard_others(self) -> None:
        """Delete the databases that came before the store; what can't be deleted now is, by the next start."""
        for path in databases(self.path):
            if _number(path.name) < _number(self._name):
                try:
                    discard(path)
                except StorageFull as error:
                    log.warning("an old store can't be deleted", extra={"file": path.name, "error": error.message})

    def note_commit(self, version: int) -> None:
        """Write down that the store has made `version` commits, which are on the disk."""
        note_commits(self.path, version, self._name)

    def require_commits(self, version: int, *, of_any: bool = False) -> None:
        """Raise StoreCorrupt where the database holds `version` commits and more were acknowledged.

        `of_any`: whichever database they were made in. A store that takes another one's place goes on counting, and is noted a little later.
        """
        noted = noted_commits(self.path)
        if noted and (of_any or noted.name == self._name) and noted.commits > version:
            raise StoreCorrupt(
                f"the store in {self.path} has lost {noted.commits - version} of {noted.commits} commits (its log is missing or damaged): restore a "
                f"backup, or run `ekiben repair --data {self.path} --accept-loss` and ingest again"
            )

    def accept_loss(self, version: int) -> None:
        """Forget that there were more than `version` commits."""
        with _disk_errors(self.path):
            (self.path / COMMITTED_NAME).unlink(missing_ok=True)
        self.note_commit(version)

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Raise what the disk raises inside as StorageFull."""
    try:
        yield
    except OSError as error:
        raise StorageFull(f"a file in {folder} can't be written or deleted ({error}): the store stays as it was; free some space") from error


def databases(folder: Path) -> Iterator[Path]:
    """The databases in `folder`, by number."""
    yield from sorted((path for path in folder.glob("store-*.db") if _STORE_NAME.fullmatch(path.name)), key=lambda path: _number(path.name))


def discard(database: Path) -> None:
    """Delete a database with its log; the log first, because the next database of the name would take it for its own."""
    with _disk_errors(database.parent):
        for suffix in ("-wal", "-journal", "-shm"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)
        sync_folder(database.parent)
        database.unlink(missing_ok=True)


def _surviving_name(folder: Path) -> str:
    found = [path.name for path in databases(folder) if _is_whole(path)]
    noted = noted_commits(folder)
    if noted and noted.name in found:
        return noted.name
    if found:
        return found[-1]
    raise StoreCorrupt(f"there is no whole store in {folder}: restore a backup with `ekiben restore BACKUP --data {folder}`")


def _is_whole(database: Path) -> bool:
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        try:
            return not connection.execute("SELECT value FROM meta WHERE key = 'building'").fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return False


def _youngest(folder: Path) -> str:
    return next((path.name for path in reversed(list(databases(folder)))), "store-0.db")


def current_name(folder: Path) -> str:
    """The name of the store's database; raises StoreCorrupt where it can't be told or isn't there. Needs no lock."""
    try:
        name = (folder / CURRENT_NAME).read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return _first(folder)
    except OSError as error:
        raise StoreCorrupt(f"{folder / CURRENT_NAME} can't be read ({error}): run `ekiben repair --data {folder}`") from error
    if not _STORE_NAME.fullmatch(name):
        raise StoreCorrupt(f"{folder / CURRENT_NAME} is damaged (it holds {name[:40]!r}): run `ekiben repair --data {folder}`")
    if not (folder / name).exists():
        raise StoreCorrupt(f"{folder / name} is missing: restore a backup with `ekiben restore BACKUP --data {folder}`, or use an empty folder")
    return name


def _first(folder: Path) -> str:
    """The name of a new store. A database without CURRENT is what is left of a first start that was cut short, unless it holds something."""
    found = list(databases(folder))
    if found and ((folder / COMMITTED_NAME).exists() or not all(map(_is_unfinished, found))):
        raise StoreCorrupt(f"{folder / CURRENT_NAME} is missing, though there is a store: run `ekiben repair --data {folder}`")
    return "store-1.db"


def _is_unfinished(database: Path) -> bool:
    """Whether no change was ever committed to the database. Power that fails early leaves one that can't be read."""
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        try:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'").fetchone()
            return not tables or not connection.execute("SELECT value FROM meta WHERE key = 'index_version'").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error:
        return database.stat().st_size < _UNFINISHED_BYTES


def _number(name: str) -> int:
    match = _STORE_NAME.fullmatch(name)
    return int(match[1]) if match else 0
