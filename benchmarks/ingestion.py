"""How near does `ekiben ingest` keep the Embedder to its own ceiling?

    .venv/bin/python benchmarks/ingestion.py [--texts CORPUS.jsonl] [--paragraphs 600] [--rounds 3]

Starts the four services with `ekiben serve` and measures two things in turn, in one run: (a) the ceiling, the passages of a folder sent straight
to that Embedder over its own socket, in the way of those tried that is fastest; (b) the command `ekiben ingest FOLDER` into a new collection, from
its start to its end. Both embed the same texts; their number is checked. Two folders hold the same paragraphs, forty a file and one a file. CORPUS
holds a JSON object with `text` a line; without it the paragraphs of data/sample are taken, numbered so that no two are equal.

On a CPU the Embedder computes on all cores, so what the other processes do is taken from it: the seconds of CPU tell how much that is. `busy` is the
share of the time in which the Embedder had a batch to compute: the rest of it, it waited.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import bentoml
import httpx
import psutil
import torch
from _bentoml_impl.client import RemoteProxy
from texts import paragraphs

from clients.http_client import EkibenClient
from core.schemas import Document, EmbedItem, EncoderInfo, SplitDocument
from core.settings import settings
from pipelines.ingestion.loading import load_file
from pipelines.ingestion.normalizing import normalize_document
from pipelines.ingestion.splitting import TokenSplitter
from services.embedder.service import Embedder

ROOT = Path(__file__).resolve().parent.parent
PARAGRAPHS_PER_FILE = {"40 paragraphs a file": 40, "1 paragraph a file": 1}
# Requests in flight and texts of each: from what just keeps one batch waiting to far more than there is room for.
WAYS = ((2, 32), (4, 32), (16, 32), (3, 128), (8, 128))
PASSAGES_TO_TRY = 512
READY_WITHIN_S = 180.0
CLI = "ekiben ingest"

Way = tuple[int, int]
T = TypeVar("T")


@dataclass(frozen=True)
class Folder:
    """Files and the texts that are embedded for them."""

    name: str
    path: Path
    files: int
    passages: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """What one repetition took; `cpu_s` by process."""

    wall_s: float
    busy_s: float
    cpu_s: dict[str, float]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--paragraphs", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the services are stopped then, too
    texts = paragraphs(arguments.texts, arguments.paragraphs)
    with tempfile.TemporaryDirectory() as name, _serving(Path(name)) as services:
        folders = [_written(Path(name) / str(count), label, count, texts, services.encoder) for label, count in PARAGRAPHS_PER_FILE.items()]
        _print_machine()
        way = _best_way(services, folders[0].passages[:PASSAGES_TO_TRY])
        startup_s = statistics.median(services.start_up(Path(name) / "one") for _ in range(arguments.rounds))
        print(f"{CLI} takes {startup_s:.2f} s to start, compare and end (a dry run of one file)", flush=True)
        for folder in folders:
            _measure(services, folder, way, arguments.rounds, startup_s)


def _measure(services: "_Services", folder: Folder, way: Way, rounds: int, startup_s: float) -> None:
    count = len(folder.passages)
    print(f"\n{folder.name}: {folder.files} {'file' if folder.files == 1 else 'files'}, {count} passages; passages/s", flush=True)
    ceilings, ingests = [], []
    for number in range(rounds):
        ceilings.append(services.measured(lambda: services.embed(folder.passages, way)))
        ingests.append(services.measured(lambda: services.ingest(folder)))
        services.forget()
        a, b = (count / runs[-1].wall_s for runs in (ceilings, ingests))
        print(f"  {number + 1}: (a) {a:6.1f}  (b) {b:6.1f}  b/a {b / a:.3f}", flush=True)
    pairs = list(zip(ceilings, ingests, strict=True))
    a, b = (statistics.median(count / run.wall_s for run in runs) for runs in (ceilings, ingests))
    ratio = statistics.median(ceiling.wall_s / run.wall_s for ceiling, run in pairs)
    started = statistics.median(ceiling.wall_s / (run.wall_s - startup_s) for ceiling, run in pairs)
    print(f"  medians: (a) {a:.1f}  (b) {b:.1f}  b/a {ratio:.3f}, without the start-up {started:.3f}")
    for side, runs in (("a", ceilings), ("b", ingests)):
        _print_costs(side, runs, count)


def _print_costs(side: str, runs: Sequence[Run], count: int) -> None:
    spent = {name: statistics.median(run.cpu_s[name] for run in runs) / count * 1_000 for name in runs[0].cpu_s}
    busy = statistics.median(run.busy_s / run.wall_s for run in runs)
    cores = statistics.median(sum(run.cpu_s.values()) / run.wall_s for run in runs)
    told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in spent.items() if seconds >= 0.005)
    print(f"  ({side}) CPU seconds per 1,000 passages: {told}; {cores:.2f} cores in use, Embedder busy {busy:.0%}", flush=True)


def _best_way(services: "_Services", passages: Sequence[str]) -> Way:
    services.embed(passages, WAYS[-1])  # BentoML's dispatcher learns from its first calls how long to wait
    seconds = {way: services.measured(lambda way=way: services.embed(passages, way)).wall_s for way in WAYS}
    print("ceiling by requests in flight x texts of each: " + ", ".join(f"{a} x {b}: {len(passages) / s:.1f}/s" for (a, b), s in seconds.items()))
    return min(seconds, key=lambda way: seconds[way])


def _print_machine() -> None:
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    chip = model[1] if model else platform.machine()
    threads = settings().embedder.threads or torch.get_num_threads()
    versions = f"Python {platform.python_version()}, bentoml {bentoml.__version__}, torch {torch.__version__}"
    print(f"{time.strftime('%Y-%m-%d')}, {chip}, {os.cpu_count()} cores, the Embedder computes on {threads}, {versions}", flush=True)


# -- texts ----------------------------------------------------------------------------------------------------------------------------


def _written(path: Path, name: str, paragraphs_per_file: int, paragraphs: Sequence[str], encoder: EncoderInfo) -> Folder:
    """Markdown files below `path`, and what the gateway and the Retriever will make of them."""
    path.mkdir()
    splitter = TokenSplitter(encoder, settings().ingestion)
    passages: list[str] = []
    parts = list(_batched(paragraphs, paragraphs_per_file))
    for number, part in enumerate(parts):
        file = path / f"{number:05}.md"
        file.write_text("\n\n".join(part), encoding="utf-8")
        for item in load_file(file, id=file.name, limits=settings().ingestion):
            assert isinstance(item, Document), item
            document = normalize_document(item)
            passages += splitter.passages(SplitDocument(document=document, chunks=splitter.split(document), encoder=encoder.fingerprint))
    if len(set(passages)) < len(passages):
        raise SystemExit("two passages are equal; the Retriever would embed one of them only")
    return Folder(name, path, len(parts), tuple(passages))


def _batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))


# -- services -------------------------------------------------------------------------------------------------------------------------


class _Services:
    def __init__(self, url: str, server: psutil.Process) -> None:
        self._url = url
        children = server.children(recursive=True)
        self._processes = {match[1]: child for child in children if (match := re.search(r"--service-name (\w+)", " ".join(child.cmdline())))}
        # BentoML tells its processes where the others listen.
        self._embedder = json.loads(self._processes["Retriever"].environ()["BENTOML_RUNNER_MAP"])["Embedder"]
        Embedder.inject_config()
        (self.encoder,) = asyncio.run(self._with_embedder(lambda embedder: embedder.encoders()))
        self._collections = 0

    def measured(self, action: Callable[[], None]) -> Run:
        busy, cpu = self._busy_s(), self._cpu_s()
        started = time.perf_counter()
        action()
        wall_s = time.perf_counter() - started
        return Run(wall_s, self._busy_s() - busy, {name: spent - cpu[name] for name, spent in self._cpu_s().items()})

    def _cpu_s(self) -> dict[str, float]:
        times = {name: process.cpu_times() for name, process in self._processes.items()}
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)  # commands that have ended, with the parsers that they started
        own = time.process_time()
        return {name: spent.user + spent.system for name, spent in times.items()} | {CLI: ended.ru_utime + ended.ru_stime, "this client": own}

    def _busy_s(self) -> float:
        pattern = r'^ekiben_batch_compute_seconds_sum\{[^}]*service="embedder"[^}]*\} (\S+)'
        return sum(map(float, re.findall(pattern, httpx.get(f"{self._url}/metrics").text, re.MULTILINE)))

    def embed(self, passages: Sequence[str], way: Way) -> None:
        in_flight, size = way
        waiting = _batched([EmbedItem(text=text, encoder=self.encoder.fingerprint) for text in passages], size)

        async def send(embedder: Any) -> None:
            async def worker() -> None:
                for items in waiting:
                    assert len(await embedder.embed(items)) == len(items)

            await asyncio.gather(*(worker() for _ in range(in_flight)))

        asyncio.run(self._with_embedder(send))

    async def _with_embedder(self, use: Callable[[Any], Awaitable[T]]) -> T:
        """What `use` makes of the Embedder, called as the Retriever calls it."""
        proxy = RemoteProxy(self._embedder, service=Embedder)
        await proxy.__aenter__()
        try:
            return await use(proxy.to_async)
        finally:
            await proxy.close()

    def ingest(self, folder: Folder) -> None:
        self._collections += 1
        outcome = self._run_cli(folder.path, "--collection", f"run-{self._collections}")
        chunks = sum(document["chunks"] for document in outcome["documents"])
        assert outcome["counts"] == {"created": folder.files} and chunks == len(folder.passages), (outcome["counts"], chunks)

    def forget(self) -> None:
        with EkibenClient(self._url) as client:
            client.delete_collection(f"run-{self._collections}")
            client.compact()

    def start_up(self, folder: Path) -> float:
        folder.mkdir(exist_ok=True)
        (folder / "one.md").write_text("One sentence.", encoding="utf-8")
        started = time.perf_counter()
        self._run_cli(folder, "--dry-run")
        return time.perf_counter() - started

    def _run_cli(self, folder: Path, *options: str) -> Any:
        command = [sys.executable, "-m", "clients", "ingest", str(folder), "--url", self._url, "--json", *options]
        return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


@contextmanager
def _serving(folder: Path) -> Iterator[_Services]:
    """The four services with all their data in `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "clients", "serve", "--port", str(port), "--data", str(folder / "data")]
    quiet = {"BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(folder / "bentoml"), "EKIBEN_JOBS__DATA_DIR": str(folder / "jobs")}
    with (folder / "log.txt").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=os.environ | quiet, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, server)
        yield _Services(url, psutil.Process(server.pid))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def _wait_until_ready(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit("the services did not start")


if __name__ == "__main__":
    main()
