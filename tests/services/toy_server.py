"""Starts the toy services as real servers, on free ports, and stops them with all their children."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]
TOYS = "tests.services.toys:Caller"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class ToyServer:
    """A server that was started: where it listens, and the file that its output goes to."""

    url: str
    output: Path
    process: subprocess.Popen[bytes]

    def wait_until_alive(self) -> None:
        """Return when the server answers; raises AssertionError with its output when it ends or takes too long."""
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end and self.process.poll() is None and "startup failed" not in self.output.read_text():
            try:
                if httpx.get(f"{self.url}/livez", timeout=5.0).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"the toy server did not start:\n{self.output.read_text()}")


@contextmanager
def composed(folder: Path, **environment: str) -> Iterator[ToyServer]:
    """`bentoml serve` of Caller with Callee as its child. It is being started when this yields."""
    with _bound_socket() as probe:
        port = probe.getsockname()[1]
    arguments = ["-m", "bentoml", "serve", TOYS, "--host", "127.0.0.1", "--port", str(port)]
    with _running(_start(arguments, folder, environment), port, folder) as server:
        yield server


@contextmanager
def alone(service: str, folder: Path, *options: str, **environment: str) -> Iterator[ToyServer]:
    """One worker of one service on a TCP port. Callee is not the entry of its module: BentoML takes pickle from it."""
    with _bound_socket() as listener:
        listener.listen(128)
        port, descriptor = listener.getsockname()[1], listener.fileno()
        arguments = ["-m", "_bentoml_impl.worker.service", TOYS, "--service-name", service, "--fd", str(descriptor), *options]
        process = _start(arguments, folder, environment, [descriptor])
    with _running(process, port, folder) as server:
        yield server


def _bound_socket() -> socket.socket:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


def _start(arguments: Sequence[str], folder: Path, environment: dict[str, str], descriptors: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "true", "HF_HUB_OFFLINE": "1", "BENTOML_HOME": str(folder), **environment}
    with (folder / "output.txt").open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=sink, stderr=sink, pass_fds=descriptors, start_new_session=True
        )


@contextmanager
def _running(process: subprocess.Popen[bytes], port: int, folder: Path) -> Iterator[ToyServer]:
    try:
        yield ToyServer(f"http://127.0.0.1:{port}", folder / "output.txt", process)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL to what is left. BentoML puts its children into sessions of their own, so they are looked up by their parent."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for survivor in psutil.wait_procs(family, timeout=1.0)[1]:
        survivor.kill()
