import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import InvalidSettings, StorageFull, StoreCorrupt, StoreLocked
from services.retriever.backup import back_up
from services.retriever.database import Database
from services.retriever.folder import DataFolder, discard


def _make_store(folder: DataFolder, commits: int = 1) -> None:
    database = Database.open(folder.database)
    with database.writing() as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'index_version'", (commits,))
    database.close()
    folder.switch(folder.database)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder.open(tmp_path / "new" / "folder") as folder:
        yield folder


# -- the lock --------------------------------------------------------------------------------------------------------------------


def test_a_second_opening_is_refused_and_names_folder_and_holder(folder: DataFolder) -> None:
    with pytest.raises(StoreLocked, match=f"pid {os.getpid()}.*{folder.path}.*retriever.data_dir"):
        DataFolder.open(folder.path)


def test_another_process_is_refused(folder: DataFolder) -> None:
    script = "import sys; from pathlib import Path; from services.retriever.folder import DataFolder; DataFolder.open(Path(sys.argv[1]))"
    other = subprocess.run([sys.executable, "-c", script, folder.path], capture_output=True, text=True, check=False)
    assert other.returncode != 0
    assert f"StoreLocked: another process (pid {os.getpid()})" in other.stderr


def test_the_lock_is_free_after_closing_in_another_thread(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    closer = threading.Thread(target=folder.close)
    closer.start()
    closer.join()
    DataFolder.open(tmp_path).close()
    assert folder  # kept until here: filelock would also release a lock that is thrown away


def test_a_refused_opening_frees_the_lock(tmp_path: Path) -> None:
    (tmp_path / "CURRENT").write_text("nonsense")
    for _ in range(2):
        with pytest.raises(StoreCorrupt) as refusal:
            DataFolder.open(tmp_path)
        assert refusal.tb  # keeps the objects of the failed opening, so that it is not their end that frees the lock


def test_a_folder_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InvalidSettings, match=r"retriever\.data_dir"):
        DataFolder.open(tmp_path / "file")


# -- which database is the store -------------------------------------------------------------------------------------------------


def test_a_new_folder_has_its_first_store_named_by_whoever_makes_it(folder: DataFolder) -> None:
    assert folder.is_new
    _make_store(folder)
    assert not folder.is_new
    assert (folder.path / "CURRENT").read_text() == "store-1.db\n"


def test_the_switch_is_kept_and_what_came_before_is_deleted(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        _make_store(folder)
        following = folder.next_database()
        Database.open(following).close()
        folder.switch(following)
        folder.discard_others()
    with DataFolder.open(tmp_path) as folder:
        assert folder.database == tmp_path / "store-2.db"
    assert not (tmp_path / "store-1.db").exists()


def test_a_store_that_is_being_built_is_kept(folder: DataFolder) -> None:
    _make_store(folder)
    Database.open(folder.next_database()).close()
    folder.discard_others()
    assert folder.next_database().exists()


def test_a_first_start_that_was_cut_short_is_begun_anew(tmp_path: Path) -> None:
    Database.open(tmp_path / "store-1.db").close()
    (tmp_path / "store-1.db-wal").write_bytes(b"what is left of a log")
    with DataFolder.open(tmp_path) as folder:
        assert folder.is_new
    assert not list(tmp_path.glob("store-*"))


def test_a_first_start_under_way_is_left_alone_by_who_does_not_hold_the_folder(folder: DataFolder) -> None:
    Database.open(folder.database).close()
    with pytest.raises(InvalidSettings, match="no store"):
        back_up(folder.path, folder.path / "copy")
    assert folder.database.exists()


@pytest.mark.parametrize("content", [b"", b"store-x.db", b"\xff\xfe", b"../store-1.db"])
def test_a_damaged_name_is_refused_and_repair_names_the_store_again(tmp_path: Path, content: bytes) -> None:
    with DataFolder.open(tmp_path) as folder:
        _make_store(folder)
    (tmp_path / "CURRENT").write_bytes(content)
    with pytest.raises(StoreCorrupt, match="ekiben repair"):
        DataFolder.open(tmp_path)
    with DataFolder.open(tmp_path, mending=True) as folder:
        assert not folder.find_store()
        folder.switch(folder.database)
        assert folder.find_store()
        assert folder.database.name == "store-1.db"
    DataFolder.open(tmp_path).close()


def test_a_missing_name_is_not_taken_for_a_new_folder(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        _make_store(folder)
    (tmp_path / "CURRENT").unlink()
    with pytest.raises(StoreCorrupt, match="ekiben repair"):
        DataFolder.open(tmp_path)


def test_a_missing_database_is_not_taken_for_a_new_folder(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        _make_store(folder)
    discard(tmp_path / "store-1.db")
    with pytest.raises(StoreCorrupt, match="ekiben restore"):
        DataFolder.open(tmp_path)
    with DataFolder.open(tmp_path, mending=True) as folder, pytest.raises(StoreCorrupt, match="ekiben restore"):
        folder.find_store()


def test_a_switch_on_a_full_disk_changes_nothing(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    _make_store(folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull, match="No space left"):
        folder.switch(folder.next_database())
    assert folder.database.name == "store-1.db"
    assert not list(folder.path.glob("*.tmp"))


# -- how many commits there must be ----------------------------------------------------------------------------------------------


def test_fewer_commits_than_were_noted_are_refused_until_the_loss_is_accepted(folder: DataFolder) -> None:
    folder.note_commit(7)
    folder.require_commits(7)
    folder.require_commits(8)
    with pytest.raises(StoreCorrupt, match=r"lost 2 of 7 commits.*--accept-loss"):
        folder.require_commits(5)
    folder.accept_loss(5)
    folder.require_commits(5)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"99999999999999999999 store-1.db 00000000\n"])
def test_a_damaged_note_refuses_nothing(folder: DataFolder, content: bytes) -> None:
    (folder.path / "COMMITTED").write_bytes(content)
    folder.require_commits(0)


def test_the_note_of_another_store_says_nothing(folder: DataFolder) -> None:
    _make_store(folder)
    folder.note_commit(7)
    folder.switch(folder.next_database())
    folder.require_commits(1)


def test_a_note_that_can_not_be_written_fails_no_commit(folder: DataFolder) -> None:
    (folder.path / "COMMITTED").mkdir()
    folder.note_commit(1)
