"""The shim itself: it sees every change of the folder, and strikes where it is told to."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import power
from tests.faults.shim import FOREVER, Action, environment
from tests.servers import ROOT

_CHANGES = """
import os, shutil, sqlite3, sys
from pathlib import Path
from tests.faults.shim import Action, Shim
folder, trace, action, at, calls = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
sink = os.open(trace, os.O_CREAT | os.O_WRONLY)
shim = Shim()
shim.arm(folder, Action(action), at, calls, sink)
"""
_EVERY_KIND = """
(folder / "text").write_text("one\\n" * 2000)
with (folder / "text").open("a") as file: file.write("two")
with (folder / "text").open("r+b") as file: file.seek(3); file.write(b"x"); file.truncate(5000)
(folder / "deep" / "er").mkdir(parents=True)
shutil.copy(folder / "text", folder / "deep" / "er" / "copy")
(folder / "deep").rename(folder / "moved")
os.link(folder / "text", folder / "moved" / "link")
(folder / "gone").mkdir(); (folder / "gone" / "file").write_text("x"); shutil.rmtree(folder / "gone")
(folder / "text").replace(folder / "other")
(folder / "other").write_text("new")
database = sqlite3.connect(folder / "a.db"); database.execute("PRAGMA journal_mode = WAL"); database.execute("CREATE TABLE t (a)")
database.executemany("INSERT INTO t VALUES (?)", [("z" * 900,)] * 100); database.commit(); database.close()
descriptor = os.open(folder / "low", os.O_CREAT | os.O_WRONLY)
os.writev(descriptor, [b"ab", b"cd"]); os.pwrite(descriptor, b"e", 4096); os.fsync(descriptor); os.close(descriptor)
print(shim.points)
"""


def _run(
    library: Path, folder: Path, script: str, action: Action = Action.NONE, at: int = 0, calls: int = FOREVER
) -> "subprocess.CompletedProcess[str]":
    folder.mkdir(exist_ok=True)
    line = [sys.executable, "-c", _CHANGES + script, folder, folder.with_suffix(".trace"), str(int(action)), str(at), str(calls)]
    return subprocess.run(line, cwd=ROOT, env=environment(library), capture_output=True, text=True, check=False, timeout=60)


def _tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_folder_rebuilt_from_the_trace_is_the_folder(library: Path, tmp_path: Path) -> None:
    folder, rebuilt = tmp_path / "folder", tmp_path / "rebuilt"
    done = _run(library, folder, _EVERY_KIND)
    assert int(done.stdout) > 50, done.stderr
    trace = power.Trace.read(tmp_path / "folder.trace", folder)
    power.rebuild(trace, trace.points, rebuilt, None)
    assert _tree(rebuilt) == _tree(folder)


def test_a_killed_process_has_done_nothing_from_that_point_on(library: Path, tmp_path: Path) -> None:
    script = "[(folder / name).write_text(name) for name in 'abc']"
    assert _run(library, tmp_path / "folder", script, Action.KILL, 4).returncode == -9
    assert _tree(tmp_path / "folder") == {"a": b"a", "b": b""}


def test_a_torn_write_leaves_its_first_half(library: Path, tmp_path: Path) -> None:
    assert _run(library, tmp_path / "folder", "(folder / 'a').write_bytes(b'123456')", Action.TORN, 2).returncode == -9
    assert _tree(tmp_path / "folder") == {"a": b"123"}


@pytest.mark.parametrize(("action", "error"), [(Action.FULL, "No space left on device"), (Action.BROKEN, "Input/output error")])
def test_refused_calls_raise_and_later_ones_pass(library: Path, tmp_path: Path, action: Action, error: str) -> None:
    script = """
for name in "abcd":
    try:
        (folder / name).mkdir()
    except OSError as error:
        print(error.strerror)
"""
    assert _run(library, tmp_path / "folder", script, action, 2, 2).stdout.splitlines() == [error, error]
    assert _tree(tmp_path / "folder") == {"a": None, "d": None}


def test_a_full_disk_still_deletes(library: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("a")
    assert _run(library, tmp_path / "folder", "(folder / 'a').unlink()", Action.FULL, 1).returncode == 0
    assert _tree(tmp_path / "folder") == {}


def test_what_is_outside_of_the_folder_is_left_alone(library: Path, tmp_path: Path) -> None:
    done = _run(library, tmp_path / "folder", "(folder.parent / 'other').write_text('x'); print(shim.points)", Action.BROKEN, 1)
    assert (done.stdout, (tmp_path / "other").read_text()) == ("0\n", "x")
