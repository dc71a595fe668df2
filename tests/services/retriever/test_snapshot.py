import errno
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from core.errors import Internal, StorageFull
from core.vectors import Vector
from services import durable
from services.retriever.base import build_base
from services.retriever.schema import ChunkIds
from services.retriever.snapshot import SnapshotFile, SnapshotRecord, fault_of, keep_only, read_ids
from services.retriever.vector_index import VectorIndex
from tests.services.retriever.samples import DIM, retriever_settings, unit_vector

QUERY = unit_vector("what is asked")
LIVE = np.arange(3, 83)
KINDS = {"flat": 10**6, "ivf": 0}


def _vectors(ids: ChunkIds) -> Vector:
    return np.array([unit_vector(str(id_)) for id_ in ids.tolist()], np.float32).reshape(-1, DIM)


def _read(ids: ChunkIds) -> Iterator[tuple[ChunkIds, Vector]]:
    yield ids, _vectors(ids)


def _build(folder: Path, kind: str, live: ChunkIds = LIVE) -> SnapshotFile:
    return build_base(folder, DIM, live, _read, retriever_settings(folder, exact_up_to=KINDS[kind], probes=100, compact_after=10))


def _open(folder: Path, file: SnapshotFile | None, live: ChunkIds = LIVE) -> VectorIndex:
    return VectorIndex.open(folder, DIM, file, live, _read, retriever_settings(folder, exact_up_to=10**6, probes=100, compact_after=10))


def _require_right_answers(index: VectorIndex, live: ChunkIds = LIVE) -> None:
    exact = dict(zip(live.tolist(), (_vectors(live) @ QUERY).tolist(), strict=True))
    assert index.search(QUERY, live.size + 1) == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_file_is_all_that_is_read(tmp_path: Path, kind: str) -> None:
    file = _build(tmp_path, kind)
    assert (file.kind, file.dim, file.chunks) == (kind, DIM, LIVE.size)
    assert [path.name for path in tmp_path.iterdir()] == [file.path(tmp_path).name]
    assert read_ids(tmp_path, file).tolist() == LIVE.tolist()
    index = _open(tmp_path, file)
    assert index.pending == 0
    _require_right_answers(index)


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_is_caught_up_from_the_store(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    live = np.concatenate([LIVE[4:], [100, 101, 102]])
    index = _open(tmp_path, _build(tmp_path, kind), live)
    _require_right_answers(index, live)
    (record,) = caplog.records
    assert (record.levelname, record.added, record.removed, record.snapshot) == ("INFO", 3, 4, 80)


@pytest.mark.parametrize("live", [np.empty(0, np.int64), np.array([10**7])])
@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_stores_have_snapshots_too(tmp_path: Path, kind: str, live: ChunkIds) -> None:
    _require_right_answers(_open(tmp_path, _build(tmp_path, kind, live), live), live)


def _truncate(size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, size if size >= 0 else path.stat().st_size + size)


def _flip(at: float) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(at * (len(content) - 1))] ^= 0x10
        path.write_bytes(content)

    return flip


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\x00")


def _become_a_folder(path: Path) -> None:
    size = path.stat().st_size
    path.unlink()
    path.mkdir()
    assert path.stat().st_size != size


def _be_of_another_store(path: Path) -> None:
    other = path.parent / "other"
    other.mkdir()
    kind = "flat" if path.stat().st_size == LIVE.size * (DIM * 4 + 8) else "ivf"
    file = _build(other, kind, LIVE + 1)
    file.path(other).replace(path)


HARMS: dict[str, tuple[Callable[[Path], None], str]] = {
    "deleted": (Path.unlink, "missing"),
    "empty": (_truncate(0), "torn"),
    "without its last byte": (_truncate(-1), "torn"),
    "half": (_truncate(1_000), "torn"),
    "header only": (_truncate(33), "torn"),
    "longer": (_append, "torn"),
    "a folder": (_become_a_folder, "torn"),
    "first byte": (_flip(0), "damaged"),
    "header": (_flip(0.01), "damaged"),
    "middle": (_flip(0.5), "damaged"),
    "ids": (_flip(0.9), "damaged"),
    "last byte": (_flip(1), "damaged"),
    "of another store": (_be_of_another_store, "damaged"),
}


@pytest.mark.parametrize(("harm", "reason"), HARMS.values(), ids=HARMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_the_one_written_costs_a_rebuild_and_no_answer(
    tmp_path: Path, kind: str, harm: Callable[[Path], None], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = _build(tmp_path, kind)
    harm(file.path(tmp_path))
    index = _open(tmp_path, file)
    assert [(record.levelname, record.reason) for record in caplog.records] == [("WARNING", reason)]
    assert index.pending == LIVE.size
    _require_right_answers(index)


def test_a_file_that_no_longer_can_be_read_costs_a_rebuild(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    file = _build(tmp_path, "flat")
    monkeypatch.setattr("hashlib.file_digest", fail)
    assert fault_of(tmp_path, file) == "damaged"
    _require_right_answers(_open(tmp_path, file))


@pytest.mark.parametrize("change", [{"dim": DIM + 1}, {"dim": DIM // 2}, {"chunks": LIVE.size - 1}, {"kind": "other"}])
@pytest.mark.parametrize("kind", KINDS)
def test_a_record_that_does_not_fit_its_sound_file_is_foreign(
    tmp_path: Path, kind: str, change: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    other = {"kind": "ivf" if kind == "flat" else "flat"}
    file = _build(tmp_path, kind).model_copy(update=other if "kind" in change else change)
    index = _open(tmp_path, file)
    assert [record.reason for record in caplog.records] == ["foreign"]
    _require_right_answers(index)


def test_a_snapshot_of_another_dimension_is_foreign_to_the_index(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = _build(tmp_path, "flat")
    settings = retriever_settings(tmp_path, exact_up_to=1, probes=1, compact_after=1)
    index = VectorIndex.open(tmp_path, DIM + 1, file, LIVE[:0], lambda _: iter(()), settings)
    assert [record.reason for record in caplog.records] == ["foreign"]
    assert (len(index), index.pending, index.dim) == (0, 0, DIM + 1)


def test_a_record_survives_the_database_as_text(tmp_path: Path) -> None:
    file = _build(tmp_path, "flat")
    record = SnapshotRecord.of(file, 7, "encoder-a")
    assert SnapshotRecord.model_validate_json(record.model_dump_json()) == record
    _require_right_answers(_open(tmp_path, record))
    with pytest.raises(ValidationError):
        SnapshotRecord.model_validate(record.model_dump() | {"token": "../../etc/passwd"})


def test_files_that_nobody_names_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    files = [_build(tmp_path, "flat") for _ in range(3)]
    others = [tmp_path / "store-1.db", tmp_path / "CURRENT"]
    for path in (*others, tmp_path / f"vectors-{'0' * 32}.tmp"):
        path.write_bytes(b"")
    (tmp_path / f"vectors-{'1' * 32}.faiss").mkdir()  # can't be unlinked; must not keep the rest from being deleted
    index = _open(tmp_path, files[0])
    keep_only(tmp_path, files[1])
    left = {files[1].path(tmp_path), *others, tmp_path / f"vectors-{'1' * 32}.faiss"}
    assert set(tmp_path.iterdir()) == left
    _require_right_answers(index)  # deleted under it


# -- writing ----------------------------------------------------------------------------------------------------------------------


@contextmanager
def _tiny_disk() -> Iterator[None]:
    """No file may grow beyond 600 bytes; Python ignores the signal, so that a write fails as on a full disk.

    No fixture, because it would hold while pytest writes its own output, which may be a file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_leaves_no_file_and_the_index_goes_on(tmp_path: Path, kind: str) -> None:
    index = _open(tmp_path, None)
    with _tiny_disk(), pytest.raises(StorageFull, match="no space left"):
        _build(tmp_path, kind)
    assert list(tmp_path.iterdir()) == []
    _require_right_answers(index)


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, Internal)])
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_disk_that_fails_at_any_step_is_told_of_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int, error: type[Exception]
) -> None:
    def fail(*_: object) -> Iterator[tuple[ChunkIds, Vector]]:
        raise OSError(code, os.strerror(code))

    if step == "write":
        read = fail
    else:
        read = _read
        monkeypatch.setattr(*{"fsync": ("os.fsync", fail), "replace": (Path, "replace", fail)}[step])
    with pytest.raises(error):
        build_base(tmp_path, DIM, LIVE, read, retriever_settings(tmp_path, exact_up_to=10**6, probes=1, compact_after=1))
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, sync_folder = os.fsync, durable.sync_folder

    def noted_fsync(descriptor: int) -> None:
        steps.append(f"synced with {[path.suffix for path in tmp_path.iterdir()]}")
        fsync(descriptor)

    def noted_sync_folder(folder: Path) -> None:
        steps.append(f"named {[path.suffix for path in folder.iterdir()]}")
        sync_folder(folder)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(durable, "sync_folder", noted_sync_folder)
    _build(tmp_path, "flat")
    assert steps == ["synced with ['.tmp']", "named ['.faiss']", "synced with ['.faiss']"]


_DYING = """
import os, sys
from pathlib import Path
from services import durable
from services.retriever import snapshot
from tests.services.retriever.test_snapshot import _build, _read
folder, step, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
die = lambda *_: os._exit(9)
if step == "before the sync":
    os.fsync = die
elif step == "before the name":
    snapshot.rename_durably = die
elif step == "before the name is synced":
    durable.sync_folder = die
_build(folder, kind)
os._exit(9)  # before the database names it
"""


@pytest.mark.parametrize("step", ["before the sync", "before the name", "before the name is synced", "before it is named"])
def test_a_process_that_dies_between_two_steps_leaves_only_what_is_deleted_at_the_next_start(tmp_path: Path, step: str) -> None:
    named = _build(tmp_path, "flat")
    command = [sys.executable, "-c", _DYING, str(tmp_path), step, "flat"]
    assert subprocess.run(command, check=False, timeout=60, cwd=Path(__file__).parents[3]).returncode == 9
    assert len(list(tmp_path.iterdir())) == 2
    keep_only(tmp_path, named)
    assert list(tmp_path.iterdir()) == [named.path(tmp_path)]
    _require_right_answers(_open(tmp_path, named))
