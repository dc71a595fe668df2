"""How long do the four services take to start, and how much memory do they hold?

    .venv/bin/python benchmarks/footprint.py [--rounds 3] [--clients 16] [--seconds 20]

Start-up is the time from the command `ekiben serve` until /readyz answers 200, files in the page cache. Memory is the proportional set size (PSS:
pages that processes share are shared out among them) of each service's process: idle after the start, and the most that was seen, ten times a second,
while the sample documents were ingested and the clients asked. Images of containers are listed where a Docker engine has them.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import psutil

from clients.http_client import EkibenClient
from clients.local_server import LOCALHOST, Server, free_port, local_server, wait_until_ready
from core.schemas import AnswerRequest, Document

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "sample"
SERVICES = ("Embedder", "Retriever", "Generator", "Gateway")
MIB = 2**20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    os.environ["EKIBEN_LOGGING__LEVEL"] = "WARNING"
    names = ("torch", "transformers", "sentence-transformers", "bentoml")
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, {', '.join(f'{name} {version(name)}' for name in names)}")
    starts, idle, most = [], defaultdict[str, list[float]](list), dict[str, float]()
    with tempfile.TemporaryDirectory() as name:
        for number in range(arguments.rounds):
            folder = Path(name) / str(number)
            folder.mkdir()
            port = free_port()
            started = time.perf_counter()
            with (folder / "output.txt").open("wb") as output, local_server(LOCALHOST, port, folder / "data", output) as server:
                url = f"http://{LOCALHOST}:{port}"
                if not wait_until_ready(url, server):
                    raise SystemExit((folder / "output.txt").read_text())
                starts.append(time.perf_counter() - started)
                for service, size in _sizes(server).items():
                    idle[service].append(size)
                if number == arguments.rounds - 1:
                    most = _loaded(url, server, arguments.clients, arguments.seconds)
    print(f"ready after {statistics.median(starts):.1f} s (of {', '.join(f'{one:.1f}' for one in starts)})\n")
    print("| service | idle, MiB | loaded, MiB |\n| --- | --- | --- |")
    for service in SERVICES:
        print(f"| {service} | {statistics.median(idle[service]):.0f} | {most[service]:.0f} |")
    print(f"| all four | {sum(statistics.median(sizes) for sizes in idle.values()):.0f} | {sum(most.values()):.0f} |")
    _print_images()


def _sizes(server: Server) -> dict[str, float]:
    """MiB of PSS by service."""
    found = {}
    for process in psutil.Process(server.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            command = process.cmdline()
            if "--service-name" in command:
                found[command[command.index("--service-name") + 1]] = process.memory_full_info().pss / MIB
    return found


def _loaded(url: str, server: Server, clients: int, seconds: float) -> dict[str, float]:
    most: dict[str, float] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            for service, size in _sizes(server).items():
                most[service] = max(size, most.get(service, 0.0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    questions = [json.loads(line)["question"] for line in (SAMPLE / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    end = time.monotonic() + seconds

    def ask(number: int) -> int:
        count = 0
        with EkibenClient(url) as client:
            while time.monotonic() < end:
                client.answer(AnswerRequest(question=questions[(number + count * clients) % len(questions)]))
                count += 1
        return count

    files = sorted((SAMPLE / "documents").rglob("*.md"))
    with EkibenClient(url) as client:
        client.add([Document(id=file.stem, text=file.read_text(encoding="utf-8")) for file in files])
    with ThreadPoolExecutor(clients) as pool:
        asked = sum(pool.map(ask, range(clients)))
    done.set()
    watcher.join()
    print(f"loaded: {len(files)} documents ingested, then {asked} questions of {clients} clients")
    return most


def _print_images() -> None:
    if not shutil.which("docker"):
        return
    line = ["docker", "images", "--filter", "reference=ekiben-*", "--format", "| {{.Repository}} | {{.Size}} |"]
    images = subprocess.run(line, capture_output=True, text=True, check=False).stdout
    if images:
        print(f"\n| image | size |\n| --- | --- |\n{images}")


if __name__ == "__main__":
    main()
