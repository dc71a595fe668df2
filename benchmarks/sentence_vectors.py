"""Where should the extractive Generator take its sentence vectors from: an encoder of its own, the Embedder, or vectors made at ingestion?

    .venv/bin/python benchmarks/sentence_vectors.py CORPUS.jsonl [--questions 40]

Measured in one run, interleaved: milliseconds for the sentences of the passages of one question (a) by an encoder in the process, (b) by the
Embedder over HTTP and JSON, as between containers, (c) from vectors stored in SQLite; what (c) adds to the ingestion; and the memory of (a).
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import numpy as np
import psutil
import torch
from _bentoml_impl.client import RemoteProxy

from core.schemas import EmbedItem
from core.settings import settings
from core.vectors import Vector, unpack
from services.embedder.encoder import SentenceEncoder
from services.embedder.service import Embedder
from services.generator.sentences import split_sentences
from services.model_source import resolve

PASSAGES_PER_QUESTION = 5


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--questions", type=int, default=40)
    arguments = parser.parse_args()
    lines = arguments.corpus.read_text(encoding="utf-8").splitlines()[: arguments.questions * PASSAGES_PER_QUESTION]
    texts = [json.loads(line)["text"] for line in lines]
    before = psutil.Process().memory_info().rss
    encoder = SentenceEncoder(resolve(settings().embedder.model), name="own", device="cpu", dtype=torch.float32, max_batch_tokens=4096)
    own_memory = psutil.Process().memory_info().rss - before
    groups = [_items(texts[first : first + PASSAGES_PER_QUESTION]) for first in range(0, len(texts), PASSAGES_PER_QUESTION)]
    times = asyncio.run(_measure(groups, encoder))
    print(f"{time.strftime('%Y-%m-%d')}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(f"{len(groups)} questions of {PASSAGES_PER_QUESTION} passages, {statistics.mean(map(len, groups)):.0f} sentences a question")
    for name, seconds in times.items():
        print(f"{name:28} {statistics.median(seconds) * 1000:8.1f} ms a question")
    chunks, sentences = _seconds_to_encode(encoder, texts), _seconds_to_encode(encoder, [one.text for group in groups for one in group])
    print(f"vectors of sentences at ingestion add {sentences / chunks:.2f} times the encoding of the chunks")
    print(f"an encoder of its own adds {own_memory / 2**20:.0f} MB to the Generator")


def _items(passages: list[str]) -> list[EmbedItem]:
    return [EmbedItem(text=sentence.text) for passage in passages for sentence in split_sentences(passage)]


def _seconds_to_encode(encoder: SentenceEncoder, texts: list[str]) -> float:
    started = time.perf_counter()
    for first in range(0, len(texts), 32):
        encoder.encode([EmbedItem(text=text) for text in texts[first : first + 32]])
    return time.perf_counter() - started


async def _measure(groups: list[list[EmbedItem]], encoder: SentenceEncoder) -> dict[str, list[float]]:
    stored = _store(groups, encoder)
    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "bentoml", "serve", "services.embedder.service:Embedder", "--host", "127.0.0.1", "--port", str(port)],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        await _until_ready(f"http://127.0.0.1:{port}/readyz")
        Embedder.inject_config()
        proxy = RemoteProxy(f"http://127.0.0.1:{port}", service=Embedder, media_type="application/json")
        await proxy.__aenter__()

        async def remote(number: int) -> Vector:
            return np.stack([unpack(result.vector) for result in await proxy.to_async.embed(groups[number])])

        async def own(number: int) -> Vector:
            return np.stack([embedded.vector for embedded in encoder.encode(groups[number])[0]])

        async def from_store(number: int) -> Vector:
            rows = stored.execute("SELECT vector FROM sentence WHERE question = ? ORDER BY position", (number,))
            return np.stack([np.frombuffer(row[0], dtype="<f4") for row in rows])

        sides = {"(a) encoder of its own": own, "(b) the Embedder, HTTP and JSON": remote, "(c) stored at ingestion": from_store}
        times = await _interleaved(sides, len(groups))
        await proxy.close()
        return times
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


async def _interleaved(sides: dict[str, Callable[[int], Awaitable[Vector]]], count: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(count):
        for name, side in sides.items():
            started = time.perf_counter()
            await side(number)
            times[name].append(time.perf_counter() - started)
    return times


def _store(groups: list[list[EmbedItem]], encoder: SentenceEncoder) -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE sentence (question INTEGER, position INTEGER, vector BLOB, PRIMARY KEY (question, position))")
    for number, group in enumerate(groups):
        rows = [(number, position, embedded.vector.tobytes()) for position, embedded in enumerate(encoder.encode(group)[0])]
        database.executemany("INSERT INTO sentence VALUES (?, ?, ?)", rows)
    return database


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _until_ready(url: str) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(300):
            try:
                if (await client.get(url)).is_success:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.2)
    raise SystemExit("the Embedder did not start")


if __name__ == "__main__":
    main()
