import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.errors import Internal, InvalidSettings, NotReady, StorageFull, StoreCorrupt
from services.retriever.database import Database
from services.retriever.schema import SCHEMA_VERSION

FILE_NAME = "store-1.db"
COUNT_DOCUMENTS = "SELECT count(*) FROM documents"
INSERT_COLLECTION = "INSERT OR IGNORE INTO collections (name, settings, created_at) VALUES ('c', '{}', '')"
INSERT_DOCUMENT = "INSERT INTO documents VALUES (NULL, 'c', ?, '', '{}', '{}', '', '', 1, ?)"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path / FILE_NAME)
    yield database
    database.close()


def _count(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute(COUNT_DOCUMENTS).fetchone()[0])


def _insert(database: Database, document_id: str, chars: int = 1) -> None:
    with database.writing() as connection:
        connection.execute(INSERT_COLLECTION)
        connection.execute(INSERT_DOCUMENT, (document_id, "x" * chars))


# -- opening ---------------------------------------------------------------------------------------------------------------------


def test_a_commit_is_kept_across_a_restart(tmp_path: Path) -> None:
    first = Database.open(tmp_path / FILE_NAME)
    _insert(first, "a")
    first.close()
    second = Database.open(tmp_path / FILE_NAME)
    assert _count(second) == 1
    second.close()


def test_commits_are_synced_to_the_disk_before_they_return(database: Database) -> None:
    full = 2
    with database.writing() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == full
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    Database.open(tmp_path / FILE_NAME).close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(InvalidSettings, match=rf"version {SCHEMA_VERSION + 1}.*reads {SCHEMA_VERSION}"):
        Database.open(tmp_path / FILE_NAME)


def test_a_database_that_can_not_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(InvalidSettings, match=r"retriever\.data_dir"):
        Database.open(tmp_path / FILE_NAME)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database " * 1_000)
    with pytest.raises(StoreCorrupt, match="backup"):
        Database.open(tmp_path / FILE_NAME)


# -- transactions ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_inside_a_write_undoes_all_of_it(database: Database, error: type[BaseException]) -> None:
    with pytest.raises(error), database.writing() as connection:
        connection.execute(INSERT_COLLECTION)
        connection.execute(INSERT_DOCUMENT, ("a", "x"))
        raise error
    assert _count(database) == 0
    _insert(database, "b")
    assert _count(database) == 1


def test_a_process_killed_inside_a_write_leaves_nothing(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
from pathlib import Path
from services.retriever.database import Database
database = Database.open(Path(sys.argv[1], "store-1.db"))
for kill in (False, True):
    with database.writing() as connection:
        # More than the cache holds, so that uncommitted pages are in the file when the process dies.
        connection.execute({INSERT_COLLECTION!r})
        for n in range(40):
            connection.execute({INSERT_DOCUMENT!r}, (str(n + 100 * kill), "x" * 1_000_000))
        if kill:
            os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script, tmp_path], check=False).returncode != 0
    database = Database.open(tmp_path / FILE_NAME)
    assert _count(database) == 40
    with database.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    database.close()


def test_a_reader_sees_one_state_until_it_is_done(database: Database) -> None:
    with database.reading() as connection:
        assert connection.execute(COUNT_DOCUMENTS).fetchone()[0] == 0
        _insert(database, "a")
        assert connection.execute(COUNT_DOCUMENTS).fetchone()[0] == 0
    assert _count(database) == 1


def test_a_reader_can_not_write(database: Database) -> None:
    with pytest.raises(Internal, match="readonly"), database.reading() as connection:
        connection.execute(INSERT_DOCUMENT, ("a", "x"))


def test_a_closed_database_says_so(tmp_path: Path) -> None:
    database = Database.open(tmp_path / FILE_NAME)
    with database.reading() as connection:
        database.close()
        assert connection.execute(COUNT_DOCUMENTS).fetchone()[0] == 0  # what has begun is finished
    for use in (database.reading, database.writing):
        with pytest.raises(NotReady, match="closed"), use():
            pass


# -- a full disk and a damaged file ----------------------------------------------------------------------------------------------


@contextmanager
def _page_limit(database: Database) -> Iterator[None]:
    with database.writing() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    yield
    with database.writing() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")


@contextmanager
def _file_size_limit(database: Database) -> Iterator[None]:
    """What a quota does: writes beyond the limit fail with an error of their own, not with `disk full`."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (database.path.stat().st_size, unlimited[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


@pytest.mark.parametrize("limit", [_page_limit, _file_size_limit])
def test_a_full_disk_fails_one_write_and_the_store_goes_on(database: Database, limit: object) -> None:
    _insert(database, "before")
    with limit(database), pytest.raises(StorageFull, match=str(database.path.parent)) as failure:
        _insert(database, "too big", chars=1_000_000)
    assert isinstance(failure.value.__cause__, sqlite3.Error)
    assert _count(database) == 1
    _insert(database, "after", chars=1_000_000)
    assert _count(database) == 2


def test_giving_back_space_on_a_full_disk_ends_with_an_error(database: Database) -> None:
    _insert(database, "gone", chars=1_000_000)
    with database.writing() as connection:
        connection.execute("DELETE FROM documents")
    database.checkpoint()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, unlimited[1]))
    try:
        with pytest.raises(StorageFull):
            while database.give_back_pages():
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    while database.give_back_pages():
        pass
    assert database.sizes()[1] == 0


def test_damaged_pages_are_reported_and_not_read(tmp_path: Path) -> None:
    database = Database.open(tmp_path / FILE_NAME)
    for n in range(200):
        _insert(database, str(n), chars=1_000)
    database.close()
    file = tmp_path / FILE_NAME
    page = 4096
    kept = file.read_bytes()[:page]
    file.write_bytes(kept + os.urandom(file.stat().st_size - page))
    database = Database.open(tmp_path / FILE_NAME)
    with pytest.raises(StoreCorrupt, match="damaged"):
        _count(database)
    database.close()


# -- translation -----------------------------------------------------------------------------------------------------------------


def _classes(root: type[sqlite3.Error] = sqlite3.Error) -> list[type[sqlite3.Error]]:
    return [root, *(cls for child in root.__subclasses__() for cls in _classes(child))]


@pytest.mark.parametrize("cls", _classes())
def test_every_exception_class_of_sqlite_is_translated(database: Database, cls: type[sqlite3.Error]) -> None:
    for use in (database.reading, database.writing):
        with pytest.raises(Internal, match=cls.__name__) as failure, use():
            raise cls("made up")
        assert isinstance(failure.value.__cause__, cls)
