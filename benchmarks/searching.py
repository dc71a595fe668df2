"""What does a search cost by channel, with 1, 4 and 16 at once, and how much longer does it take while documents are added?

    .venv/bin/python benchmarks/searching.py [--chunks 10000 100000] [--questions 40] [--json FILE]

All sides answer the same questions over the same store in one run, in turns: words with FTS5 as it comes (`bm25()` over all words of the
question), with FTS5 over the words that are searched, and with the word index; vectors with a pass of FAISS for each question, and with the
vector index, which makes concurrent searches together. Then hybrid searches through RetrievalEngine, alone and beside a writer at full speed.

Texts are sentences of data/sample put together at random, and vectors are random: neither decides what a search costs. Read the ratios.
"""

import argparse
import json
import os
import platform
import re
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import faiss
import numpy as np

from core.schemas import Chunk, Document, EncoderInfo, SearchRequest, SplitDocument
from core.settings import settings
from core.vectors import Vector
from services.retriever import lexical
from services.retriever.engine import RetrievalEngine
from services.retriever.service import SWITCH_INTERVAL_S

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample"
DIM, CANDIDATES, SHOWN = 384, 100, 10
SENTENCES, CHUNKS_PER_DOCUMENT = 4, 10
CLIENTS = (1, 4, 16)
INGEST_CLIENTS, INGEST_S = 4, 10.0
ENCODER = EncoderInfo(
    fingerprint="none", model="none", dim=DIM, max_tokens=256, pooling="mean", weights_sha256="0" * 64, device="cpu", dtype="float32"
)
BM25 = "SELECT rowid, rank FROM chunk_index WHERE chunk_index MATCH ? ORDER BY rank LIMIT ?"

Ask = Callable[[int], object]


def main() -> None:
    """Print one line a side and number of clients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    about = {"cpu": _cpu(), "cores": os.cpu_count(), "python": platform.python_version(), "faiss": faiss.__version__}
    about |= {"numpy": np.__version__, "sqlite": sqlite3.sqlite_version}
    print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    rows = [row for count in arguments.chunks for row in _measure(count, _questions(arguments.questions))]
    if arguments.json:
        arguments.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1), encoding="utf-8")


def _measure(count: int, questions: Sequence[str]) -> Iterator[dict[str, object]]:
    vectors = _directions(np.random.default_rng(2), len(questions))
    with tempfile.TemporaryDirectory() as name:
        changes = {"data_dir": Path(name), "exact_up_to": 10**9, "compact_after": 10**9}
        with closing(RetrievalEngine.open(settings().retriever.model_copy(update=changes))) as engine:
            engine.bind_encoder(ENCODER)
            rng = np.random.default_rng(1)
            sentences = _sentences()
            for number in range(count // CHUNKS_PER_DOCUMENT):
                engine.add(_document(f"document {number}", rng, sentences), _directions(rng, CHUNKS_PER_DOCUMENT))
            engine.write_snapshot()
            sides = _sides(engine, questions, vectors)
            for clients in CLIENTS:
                yield from _in_turns(count, clients, sides, len(questions))
            yield from _while_adding(engine, count, sides["hybrid: the engine"], len(questions), sentences)


def _sides(engine: RetrievalEngine, questions: Sequence[str], vectors: Vector) -> dict[str, Ask]:
    live = engine._live
    flat = live.index._state.base._rows  # type: ignore[union-attr,attr-defined]

    def fts5(number: int, words: Sequence[str]) -> object:
        with live.store.reading() as state:
            return state.execute(BM25, (" OR ".join(f'"{word}"' for word in words), CANDIDATES)).fetchall()

    def word_index(number: int) -> object:
        with live.store.reading() as state:
            return live.words.search(state, questions[number], CANDIDATES)

    def alone(number: int) -> object:
        faiss.omp_set_num_threads(1)
        return faiss.knn(vectors[number : number + 1], flat, CANDIDATES, metric=faiss.METRIC_INNER_PRODUCT)

    return {
        "words: FTS5 as it comes": lambda number: fts5(number, list(dict.fromkeys(re.findall(r"\w+", questions[number].lower())))),
        "words: FTS5, telling words": lambda number: fts5(number, lexical.searched_words(questions[number])),
        "words: the word index": word_index,
        "vectors: FAISS, each alone": alone,
        "vectors: the vector index": lambda number: live.index.search(vectors[number], CANDIDATES),  # type: ignore[union-attr]
        "hybrid: the engine": lambda number: engine.search(SearchRequest(query=questions[number], top_k=SHOWN), vectors[number]),
    }


def _in_turns(count: int, clients: int, sides: dict[str, Ask], questions: int) -> Iterator[dict[str, object]]:
    """Every side in two rounds, so that what else runs on the machine meets all of them; the first question of words is read from the disk."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    started: dict[str, float] = dict.fromkeys(sides, 0.0)
    for _ in range(2):
        for side, ask in sides.items():
            before = time.perf_counter()
            with ThreadPoolExecutor(clients) as pool:
                times[side] += pool.map(_timed(ask), range(questions))
            started[side] += time.perf_counter() - before
    for side, found in times.items():
        yield _told(count, f"{clients} at once", side, found, len(found) / started[side])


def _while_adding(engine: RetrievalEngine, count: int, ask: Ask, questions: int, sentences: Sequence[str]) -> Iterator[dict[str, object]]:
    for adding in (False, True):
        done = threading.Event()
        with ThreadPoolExecutor(INGEST_CLIENTS + 1) as pool:
            added = pool.submit(_add_until, done, engine, sentences) if adding else None
            readers = [pool.submit(_ask_for, INGEST_S, ask, questions) for _ in range(INGEST_CLIENTS)]
            found = [seconds for reader in readers for seconds in reader.result()]
            done.set()
            state = f"{INGEST_CLIENTS} at once, {added.result() / INGEST_S:.0f} chunks/s added" if added else f"{INGEST_CLIENTS} at once, alone"
        yield _told(count, state, "hybrid: the engine", found, len(found) / INGEST_S)


def _add_until(done: threading.Event, engine: RetrievalEngine, sentences: Sequence[str]) -> int:
    rng, added = np.random.default_rng(3), 0
    while not done.is_set():
        engine.add(_document(f"late {added}", rng, sentences), _directions(rng, CHUNKS_PER_DOCUMENT))
        added += CHUNKS_PER_DOCUMENT
    return added


def _ask_for(seconds: float, ask: Ask, questions: int) -> list[float]:
    end, found = time.perf_counter() + seconds, []
    while time.perf_counter() < end:
        found.append(_timed(ask)(len(found) % questions))
    return found


# -- texts and figures --------------------------------------------------------------------------------------------------------------


def _sentences() -> list[str]:
    files = [path for path in sorted((SAMPLE / "documents").rglob("*")) if path.suffix in {".md", ".txt", ".jsonl"}]
    found = [part.strip() for path in files for part in re.split(r"\n\s*\n|(?<=[.!?])\s+", path.read_text(encoding="utf-8"))]
    return list(dict.fromkeys(text for text in found if len(text) > 40))


def _questions(count: int) -> list[str]:
    rows = [json.loads(line) for line in (SAMPLE / "questions.jsonl").read_text(encoding="utf-8").splitlines() if line.strip()]
    return [row["question"] for row in rows][:count]


def _document(name: str, rng: np.random.Generator, sentences: Sequence[str]) -> SplitDocument:
    parts = [" ".join(sentences[at] for at in rng.integers(len(sentences), size=SENTENCES)) for _ in range(CHUNKS_PER_DOCUMENT)]
    starts = np.cumsum([0, *(len(part) + 1 for part in parts)]).tolist()
    chunks = tuple(Chunk(ordinal=at, start=starts[at], end=starts[at] + len(part), text=part) for at, part in enumerate(parts))
    return SplitDocument(document=Document(id=name, text="\n".join(parts)), chunks=chunks, encoder=ENCODER.fingerprint)


def _directions(rng: np.random.Generator, count: int) -> Vector:
    found = rng.standard_normal((count, DIM), np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def _timed(ask: Ask) -> Callable[[int], float]:
    def timed(number: int) -> float:
        started = time.perf_counter()
        ask(number)
        return time.perf_counter() - started

    return timed


def _told(count: int, state: str, side: str, seconds: Sequence[float], per_second: float) -> dict[str, object]:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    row = {"chunks": count, "state": state, "side": side, "per_second": round(per_second, 1)}
    row |= {f"p{at}_ms": round(cuts[at - 1] * 1000, 2) for at in (50, 95, 99)}
    print(" | ".join(str(value) for value in row.values()), flush=True)
    return row


def _cpu() -> str:
    names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
