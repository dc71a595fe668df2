"""Starts real servers on free ports and stops them with all their children."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0
OUTPUT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Server:
    """A started server: where it listens, what it keeps, where its output goes."""

    url: str
    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text()

    def wait_for(self, path: str) -> None:
        """Return when `path` answers 200; raises AssertionError with the server's output when it ends or takes too long."""
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end and self.process.poll() is None and "startup failed" not in self.output:
            try:
                if httpx.get(self.url + path, timeout=5.0).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"{path} did not answer 200:\n{self.output}")

    def wait_for_output(self, text: str) -> None:
        """Return when the server has logged `text`, which may be a moment after its answer; raises AssertionError when it doesn't."""
        end = time.monotonic() + OUTPUT_TIMEOUT_S
        while text not in self.output:
            assert time.monotonic() < end, f"{text!r} was not logged:\n{self.output}"
            time.sleep(0.05)

    def terminate(self) -> int:
        """SIGTERM to the server alone; its exit status."""
        self.process.terminate()
        return self.process.wait(STOP_TIMEOUT_S)

    def kill_all(self) -> None:
        """SIGKILL to the server and all its children, at once; they are gone, with their locks, when this returns."""
        self.process.send_signal(signal.SIGSTOP)  # so that it starts no other child meanwhile
        family = [*_children(self.process), psutil.Process(self.process.pid)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        assert not psutil.wait_procs(family, STOP_TIMEOUT_S)[1]


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    arguments: Sequence[str],
    port: int,
    folder: Path,
    environment: dict[str, str] | None = None,
    max_file_bytes: int | None = None,
    descriptors: Sequence[int] = (),
) -> Iterator[Server]:
    """`python` with `arguments`, whose server listens on `port`. It is being started when this yields; output goes to a file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    quiet = {"BENTOML_DO_NOT_TRACK": "true", "HF_HUB_OFFLINE": "1", "BENTOML_HOME": str(folder / "bentoml")}
    quiet |= {"EKIBEN_JOBS__DATA_DIR": str(folder / "jobs"), "EKIBEN_RECORDS__DATA_DIR": str(folder / "records")}

    def limit() -> None:
        if max_file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))

    with (folder / "output.txt").open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **quiet, **(environment or {})},
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            pass_fds=descriptors,
            preexec_fn=limit,  # noqa: PLW1509 - runs one system call
        )
    try:
        yield Server(f"http://127.0.0.1:{port}", folder, process)
    finally:
        _stop(process)


@contextmanager
def ekiben(folder: Path, max_file_bytes: int | None = None, **environment: str) -> Iterator[Server]:
    """`ekiben serve` with its data in `folder`, ready."""
    port = free_port()
    arguments = ["-m", "clients", "serve", "--port", str(port), "--data", str(folder / "data")]
    with running(arguments, port, folder, environment, max_file_bytes) as server:
        server.wait_for("/readyz")
        yield server


@contextmanager
def service(name: str, folder: Path, **environment: str) -> Iterator[Server]:
    """One service alone, as a container would run it; being started when this yields."""
    port = free_port()
    target = f"services.{name}.service:{name.title()}"
    arguments = ["-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port), "--timeout-keep-alive", "75"]
    with running(arguments, port, folder / name, environment) as server:
        yield server


def command(*arguments: str, url: str | None = None, stdin: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
    """`ekiben` with `arguments`."""
    environment = {**os.environ, **({"EKIBEN_URL": url} if url else {})}
    line = [sys.executable, "-m", "clients", *arguments]
    return subprocess.run(line, cwd=ROOT, env=environment, input=stdin, capture_output=True, timeout=120, check=False)


def _children(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, then SIGKILL to what is left. BentoML puts its children into sessions of their own, so they are looked up by their parent."""
    family = _children(process)
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for survivor in psutil.wait_procs(family, timeout=2.0)[1]:
        survivor.kill()
