import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients import serving
from clients.exit_codes import ExitCode
from clients.serving import serve
from core.errors import AddressInUse, InvalidSettings, StoreLocked
from core.settings import Settings, load_settings
from services.gateway.jobs.queue import JobQueue
from tests.clients.conftest import Run

ROOT = Path(__file__).parents[2]
_HOLD_STORE = """
import pathlib, sys
from services.retriever.folder import DataFolder
with DataFolder.open(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Settings, Path]]:
    """What would have been started, had the checks passed."""
    calls: list[tuple[Settings, Path]] = []
    monkeypatch.setattr(serving, "_run", lambda settings, data_dir: calls.append((settings, data_dir)))
    monkeypatch.setenv("EKIBEN_JOBS__DATA_DIR", str(tmp_path / "default-jobs"))
    monkeypatch.setenv("EKIBEN_RECORDS__DATA_DIR", str(tmp_path / "default-records"))
    return calls


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_the_flags_reach_the_processes_of_the_services(started: list[tuple[Settings, Path]], free_port: int, tmp_path: Path) -> None:
    serve({"gateway": {"port": free_port}, "retriever": {"data_dir": tmp_path / "data"}})
    ((settings, data_dir),) = started
    assert (settings.gateway.port, data_dir) == (free_port, tmp_path / "data")
    assert os.environ["EKIBEN_GATEWAY__PORT"] == str(free_port)
    assert os.environ["EKIBEN_RETRIEVER__DATA_DIR"] == str(tmp_path / "data")


def test_a_data_folder_on_the_command_line_holds_the_jobs_as_well(
    started: list[tuple[Settings, Path]], run_cli: Run, free_port: int, tmp_path: Path
) -> None:
    assert run_cli("serve", "--port", str(free_port), "--data", str(tmp_path / "data")).exit_code == 0
    assert len(started) == 1
    assert os.environ["EKIBEN_RETRIEVER__DATA_DIR"] == str(tmp_path / "data")
    assert os.environ["EKIBEN_JOBS__DATA_DIR"] == str(tmp_path / "data" / "jobs")


def test_jobs_that_another_process_works_on_are_refused(started: list[tuple[Settings, Path]], free_port: int, tmp_path: Path) -> None:
    limits = load_settings().jobs.model_copy(update={"data_dir": tmp_path / "jobs"})
    queue = JobQueue.open(limits)
    try:
        with pytest.raises(StoreLocked, match="jobs"):
            serve({"gateway": {"port": free_port}, "retriever": {"data_dir": tmp_path}, "jobs": {"data_dir": tmp_path / "jobs"}})
    finally:
        queue.close()
    assert started == []


def test_the_data_folder_does_not_depend_on_where_a_service_runs(free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    serve({"gateway": {"port": free_port}, "retriever": {"data_dir": Path("mine")}})
    assert os.environ["EKIBEN_RETRIEVER__DATA_DIR"] == str(tmp_path / "mine")


def test_an_address_that_is_taken_is_refused_before_anything_starts(started: list[tuple[Settings, Path]], taken_port: int, tmp_path: Path) -> None:
    with pytest.raises(AddressInUse, match=f"127.0.0.1:{taken_port}.*--port"):
        serve({"gateway": {"port": taken_port}, "retriever": {"data_dir": tmp_path}})
    assert started == []


@pytest.mark.parametrize("host", ["no.such.host.invalid", "::1", "x" * 300, "256.0.0.1"])
def test_a_host_that_is_no_address_is_refused_by_name(started: list[tuple[Settings, Path]], host: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=host[:20]):
        serve({"gateway": {"host": host}, "retriever": {"data_dir": tmp_path}})
    assert started == []


def test_a_store_that_another_process_writes_to_is_refused(started: list[tuple[Settings, Path]], free_port: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLD_STORE, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreLocked, match=str(tmp_path)):
            serve({"gateway": {"port": free_port}, "retriever": {"data_dir": tmp_path}})
        assert started == []
        holder.communicate("")
    serve({"gateway": {"port": free_port}, "retriever": {"data_dir": tmp_path}})
    assert len(started) == 1


def test_a_store_elsewhere_is_not_opened_here(started: list[tuple[Settings, Path]], free_port: int, tmp_path: Path) -> None:
    serve({"gateway": {"port": free_port}, "retriever": {"data_dir": tmp_path / "data", "url": "http://elsewhere:3000"}})
    assert len(started) == 1
    assert not (tmp_path / "data").exists()


def test_what_keeps_the_server_from_starting_has_an_exit_status(run_cli: Run, taken_port: int, tmp_path: Path) -> None:
    done = run_cli("serve", "--port", str(taken_port), "--data", str(tmp_path))
    assert (done.exit_code, done.out) == (ExitCode.STARTUP, "")
    assert done.err.startswith("ekiben: can't listen on")


def test_a_settings_file_that_is_none_has_an_exit_status(run_cli: Run) -> None:
    done = run_cli("serve", "--config", "nowhere")
    assert done.exit_code == ExitCode.STARTUP
    assert "nowhere" in done.err
