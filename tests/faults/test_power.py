"""The rebuilding of a folder after a power loss: what was synced is there, what was not is there or not."""

import random
from pathlib import Path

from tests.faults.power import Point, Trace, rebuild

SEEDS = range(40)
FOLDER = Path("/watched")


def _point(kind: str, path: str = "", *, fd: int = 3, other: str = "", offset: int = 0, data: bytes = b"") -> Point:
    return Point(kind, fd, offset, f"{FOLDER}{path}", f"{FOLDER}{other}", data)


SYNC_FOLDER = (_point("O", fd=9), _point("S", fd=9))
NEW_FILE = (_point("C", "/a"), _point("W", data=b"1" * 2048), _point("S"), *SYNC_FOLDER)


def _outcomes(tmp_path: Path, *points: Point) -> set[frozenset[tuple[str, bytes]]]:
    """Every folder that came out of a power loss behind `points`."""
    found = set()
    for seed in SEEDS:
        folder = tmp_path / f"{len(points)}-{seed}"
        rebuild(Trace(FOLDER, points), len(points), folder, random.Random(seed))
        found.add(frozenset((path.name, path.read_bytes()) for path in folder.iterdir()))
    return found


def test_a_synced_file_in_a_synced_folder_is_whole(tmp_path: Path) -> None:
    assert _outcomes(tmp_path, *NEW_FILE) == {frozenset({("a", b"1" * 2048)})}


def test_a_file_whose_folder_was_not_synced_may_be_missing(tmp_path: Path) -> None:
    assert _outcomes(tmp_path, *NEW_FILE[:3]) == {frozenset(), frozenset({("a", b"1" * 2048)})}


def test_an_unsynced_write_may_be_torn_between_sectors_only(tmp_path: Path) -> None:
    contents = {dict(outcome)["a"] for outcome in _outcomes(tmp_path, *NEW_FILE, _point("W", data=b"2" * 1024))}
    assert contents == {first * 512 + second * 512 + b"1" * 1024 for first in (b"1", b"2") for second in (b"1", b"2")}


def test_a_renamed_file_has_the_old_name_or_the_new_one(tmp_path: Path) -> None:
    assert _outcomes(tmp_path, *NEW_FILE, _point("R", "/a", other="/b")) == {frozenset({(name, b"1" * 2048)}) for name in "ab"}


def test_a_rename_is_kept_once_the_folder_was_synced(tmp_path: Path) -> None:
    assert _outcomes(tmp_path, *NEW_FILE, _point("R", "/a", other="/b"), *SYNC_FOLDER) == {frozenset({("b", b"1" * 2048)})}


def test_a_deleted_file_may_come_back_until_the_folder_is_synced(tmp_path: Path) -> None:
    assert _outcomes(tmp_path, *NEW_FILE, _point("U", "/a")) == {frozenset(), frozenset({("a", b"1" * 2048)})}
    assert _outcomes(tmp_path, *NEW_FILE, _point("U", "/a"), *SYNC_FOLDER) == {frozenset()}
