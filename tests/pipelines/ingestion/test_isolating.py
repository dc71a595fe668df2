import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from core.errors import NotReady
from core.schemas import Document, DocumentResult, FieldMap
from core.settings import load_settings
from pipelines.ingestion.isolating import IsolatedLoader
from tests.pipelines.ingestion import deadly_loaders

LIMITS = load_settings().ingestion
PATIENT = LIMITS.model_copy(update={"parse_timeout_s": 30.0})
HASTY = LIMITS.model_copy(update={"parse_timeout_s": 0.5})


@pytest.fixture
def loader() -> Iterator[IsolatedLoader]:
    with IsolatedLoader(PATIENT, load=deadly_loaders.load) as opened:
        yield opened


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def _outcome(loader: IsolatedLoader, path: Path) -> tuple[str, str]:
    (loaded,) = loader.load_file(path, id=path.name)
    if isinstance(loaded, Document):
        return loaded.id, loaded.text
    assert isinstance(loaded, DocumentResult)
    assert loaded.error is not None
    assert path.name in loaded.error.message
    return loaded.id, loaded.error.code


def _wait_until_gone(pid: int) -> None:
    """Return when the process is gone, or a zombie that nobody fetches."""
    end = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, f"process {pid} lives on"
        time.sleep(0.02)


def test_a_file_is_loaded_with_the_name_that_it_is_given(write) -> None:
    with IsolatedLoader(PATIENT) as loader:
        (document,) = loader.load_file(write("4711", "# Bridges\n\nOpened in 1901.\n"), id="spool/a", name="bridges.md")
    assert isinstance(document, Document)
    assert (document.id, document.title, document.metadata["source"]) == ("spool/a", "Bridges", "bridges.md")


def test_id_name_and_fields_reach_the_loader(loader: IsolatedLoader, write) -> None:
    (refused,) = loader.load_file(write("4711", "refuse"), id="spool/a", name="a.jsonl", fields=FieldMap(text="body"))
    assert isinstance(refused, DocumentResult)
    assert refused.error is not None
    assert (refused.id, refused.error.message) == ("spool/a", "a.jsonl: asks for a password, as body says")


@pytest.mark.parametrize(
    ("disaster", "code"),
    [
        ("exit", "document_unreadable"),
        ("crash", "document_unreadable"),
        ("raise", "document_unreadable"),
        ("eat", "document_too_hungry"),
        ("refuse", "document_encrypted"),
    ],
)
def test_a_file_that_harms_its_parser_is_refused_and_the_next_one_is_loaded(loader: IsolatedLoader, write, disaster: str, code: str) -> None:
    assert _outcome(loader, write("bad.txt", disaster)) == ("bad.txt", code)
    assert _outcome(loader, write("good.txt", "Some text.")) == ("good.txt", "Some text.")


@pytest.mark.parametrize("disaster", ["hang", "hang with the GIL"])
def test_a_parser_that_hangs_is_killed(write, disaster: str) -> None:
    before = set(psutil.Process().children())
    with IsolatedLoader(HASTY, load=deadly_loaders.load) as loader:
        assert _outcome(loader, write("bad.txt", disaster)) == ("bad.txt", "document_too_slow")
        assert _outcome(loader, write("good.txt", "Some text.")) == ("good.txt", "Some text.")
        assert len(set(psutil.Process().children()) - before) <= 2  # the parser, and the resource tracker of multiprocessing


@pytest.mark.parametrize("disaster", ["exit", "eat"])
def test_an_idle_process_is_used_again_and_a_fresh_one_follows_a_disaster(loader: IsolatedLoader, write, tmp_path: Path, disaster: str) -> None:
    for name in ("a.txt", "b.txt"):
        _outcome(loader, write(name, "who"))
    _outcome(loader, write("bad.txt", disaster))
    _outcome(loader, write("c.txt", "who"))
    first, second, third = [(tmp_path / f"{name}.txt.pid").read_text() for name in "abc"]
    assert first == second != third


def test_an_idle_process_that_died_is_replaced(loader: IsolatedLoader, write, tmp_path: Path) -> None:
    _outcome(loader, write("a.txt", "who"))
    idle = psutil.Process(int((tmp_path / "a.txt.pid").read_text()))
    idle.kill()
    idle.wait()
    assert _outcome(loader, write("b.txt", "Some text.")) == ("b.txt", "Some text.")


def test_threads_share_the_processes_and_each_gets_its_own_results(write) -> None:
    texts = {f"{number}.txt": "exit" if number % 7 == 3 else f"Text {number}." for number in range(24)}
    paths = [write(name, text) for name, text in texts.items()]
    with IsolatedLoader(PATIENT, 2, load=deadly_loaders.load) as loader, ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(lambda path: _outcome(loader, path), paths))
    assert outcomes == [(name, "document_unreadable" if text == "exit" else text) for name, text in texts.items()]


def test_there_are_no_more_processes_than_asked_for(write, tmp_path: Path) -> None:
    paths = [write(f"{number}.txt", "who") for number in range(12)]
    with IsolatedLoader(PATIENT, 2, load=deadly_loaders.load) as loader, ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda path: _outcome(loader, path), paths))
    assert len({pid.read_text() for pid in tmp_path.glob("*.pid")}) <= 2


def test_closing_kills_the_processes_and_blames_no_file(loader: IsolatedLoader, write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    raised: list[NotReady] = []

    def load() -> None:
        try:
            loader.load_file(write("a.txt", "wait"), id="a")
        except NotReady as error:
            raised.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    with (tmp_path / "gate").open("wb"):  # opens when the parser has opened it
        loader.close()
        thread.join()
    assert len(raised) == 1
    assert not psutil.pid_exists(int((tmp_path / "started").read_text()))
    with pytest.raises(NotReady, match="shutting down"):
        loader.load_file(tmp_path / "a.txt", id="a")


class _Unborn:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (1,)


def test_a_process_that_does_not_start_blames_no_file(write) -> None:
    with IsolatedLoader(PATIENT, load=_Unborn()) as loader, pytest.raises(NotReady, match="did not start"):  # type: ignore[arg-type]
        loader.load_file(write("a.txt", "Some text."), id="a")


_PARENT = """
import sys
from pathlib import Path
from core.settings import load_settings
from pipelines.ingestion.isolating import IsolatedLoader
from tests.pipelines.ingestion import deadly_loaders
if __name__ == "__main__":
    limits = load_settings().ingestion.model_copy(update={"parse_timeout_s": float(sys.argv[2])})
    IsolatedLoader(limits, load=deadly_loaders.load).load_file(Path(sys.argv[1]), id="a")
    print("loaded", flush=True)
    sys.stdin.read()
"""


def test_a_busy_process_does_not_outlive_a_parent_that_is_killed(write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    with _started_parent(write("a.txt", "wait"), timeout_s=60), (tmp_path / "gate").open("wb"):  # opens when the parser has opened it
        pid = _kill_parent_of(tmp_path / "started")
        _wait_until_gone(pid)


def test_an_idle_process_does_not_outlive_a_parent_that_is_killed(write, tmp_path: Path) -> None:
    with _started_parent(write("a.txt", "who"), timeout_s=60) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        _wait_until_gone(_kill_parent_of(tmp_path / "a.txt.pid"))


def test_a_process_that_keeps_the_gil_ends_soon_after_its_time_though_its_parent_was_killed(write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    with _started_parent(write("a.txt", "wait, then hang with the GIL"), timeout_s=1):
        (tmp_path / "gate").open("wb").close()
        _wait_until_gone(_kill_parent_of(tmp_path / "started"))


def _started_parent(path: Path, timeout_s: int) -> "subprocess.Popen[bytes]":
    arguments = [sys.executable, "-c", _PARENT, str(path), str(timeout_s)]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _kill_parent_of(pid_file: Path) -> int:
    pid = int(pid_file.read_text())
    psutil.Process(pid).parent().kill()  # type: ignore[union-attr]
    return pid
