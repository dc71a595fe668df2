import multiprocessing
import resource
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.errors import AnswerNotFound, InvalidSettings, StorageFull, StoreCorrupt, StoreLocked
from services.clock import now
from services.gateway.records.book import RecordBook
from tests.services.gateway.records.samples import record, settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "records"


@pytest.fixture
def book(folder: Path) -> Iterator[RecordBook]:
    opened = RecordBook.open(settings(folder, keep=10, keep_days=2))
    yield opened
    opened.close()


def _kept(book: RecordBook, numbers: range) -> list[int]:
    found = []
    for number in numbers:
        try:
            book.find(f"ans_{number}")
        except AnswerNotFound:
            continue
        found.append(number)
    return found


def test_a_record_comes_back_as_it_was_and_survives_a_restart(book: RecordBook, folder: Path) -> None:
    book.keep([record(1), record(2)])
    expected = book.find("ans_1")
    book.close()
    again = RecordBook.open(settings(folder))
    assert again.find("ans_1") == expected
    again.close()


def test_what_was_written_twice_is_there_once(book: RecordBook) -> None:
    first = record(1)
    book.keep([first])
    book.keep([record(1), record(2)])
    assert book.find("ans_1") == first


def test_the_newest_are_kept_however_they_come(book: RecordBook) -> None:
    book.keep([record(number) for number in range(25)])
    for number in range(25, 32):
        book.keep([record(number)])
    assert _kept(book, range(40)) == list(range(22, 32))


def test_what_is_too_old_is_forgotten_even_when_nothing_comes(book: RecordBook, folder: Path) -> None:
    book.keep([record(1, now(timedelta(days=1.9))), record(2)])
    book.close()
    later = RecordBook.open(settings(folder, keep_days=1))
    later.keep([])
    assert _kept(later, range(3)) == [2]
    later.close()


def test_what_is_forgotten_is_not_in_the_file_any_more(book: RecordBook, folder: Path) -> None:
    secret = record(0)
    book.keep([secret.model_copy(update={"request": secret.request.model_copy(update={"question": "Who is Quillfeather?"})})])
    book.keep([record(number) for number in range(1, 11)])
    book.close()
    assert b"Quillfeather" not in (folder / "records.db").read_bytes()


def test_an_answer_that_is_not_there_is_named(book: RecordBook) -> None:
    with pytest.raises(AnswerNotFound, match=r"'ans_0'.*newest 10.*records.keep"):
        book.find("ans_0")


def test_a_record_of_another_version_is_not_found_and_says_why(book: RecordBook, folder: Path) -> None:
    book.keep([record(1)])
    with sqlite3.connect(folder / "records.db") as db:
        db.execute("UPDATE records SET record = '{}'")
    db.close()
    with pytest.raises(AnswerNotFound, match="another version"):
        book.find("ans_1")


@pytest.mark.parametrize("damage", [b"no database", b"SQLite format 3\0" + b"\xff" * 8_176], ids=["no database", "torn header"])
def test_a_file_that_is_none_is_set_aside_and_a_new_one_begun(book: RecordBook, folder: Path, damage: bytes) -> None:
    (folder / "records.db").write_bytes(damage)
    with pytest.raises(StoreCorrupt):
        book.find("ans_1")
    book.keep([record(1)])
    assert book.find("ans_1").id == "ans_1"
    assert (folder / "records.damaged.db").read_bytes() == damage


def test_a_file_that_is_damaged_while_it_is_open_is_set_aside_once_and_only_the_last_one_stays(book: RecordBook, folder: Path) -> None:
    for number in range(3):
        book.keep([record(number)])
        with sqlite3.connect(folder / "records.db") as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        with (folder / "records.db").open("r+b") as file:
            file.seek(4_096)
            file.write(b"\xff" * 8_192)
    book.keep([record(9)])
    assert book.find("ans_9").id == "ans_9"
    assert sum("damaged" in path.name and path.suffix == ".db" for path in folder.iterdir()) == 1


def test_a_file_of_another_layout_is_left_alone(book: RecordBook, folder: Path) -> None:
    book.keep([record(1)])
    book.close()
    with sqlite3.connect(folder / "records.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    later = RecordBook.open(settings(folder))
    with pytest.raises(InvalidSettings, match="schema version 99"):
        later.keep([record(2)])
    with pytest.raises(AnswerNotFound, match="schema version 99"):
        later.find("ans_1")
    later.close()


def test_a_folder_has_one_writer(book: RecordBook, folder: Path) -> None:
    with pytest.raises(StoreLocked, match=r"records of answers.*records\.data_dir"):
        RecordBook.open(settings(folder))


def test_a_folder_that_can_not_be_used_is_a_matter_of_settings(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidSettings, match=r"records\.data_dir"):
        RecordBook.open(settings(tmp_path / "file"))


def test_a_full_disk_loses_what_came_and_nothing_else(folder: Path) -> None:
    # In a process of its own: the limit would stop pytest's output as well.
    child = multiprocessing.get_context("spawn").Process(target=_fill_disk, args=(folder,))
    child.start()
    child.join()
    assert child.exitcode == 0


def _fill_disk(folder: Path) -> None:
    book = RecordBook.open(settings(folder, keep=10_000))
    book.keep([record(1)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    with pytest.raises(StorageFull):
        for batch in range(100):
            book.keep([record(1_000 + 50 * batch + number) for number in range(50)])
    assert book.find("ans_1").id == "ans_1"
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    book.keep([record(2)])
    assert _kept(book, range(3)) == [1, 2]
    book.close()
