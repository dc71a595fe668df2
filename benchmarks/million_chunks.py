"""How do searches, starts, memory and disk fare with a million chunks, compared one by one (flat) and by the cells of an inverted file (ivf)?

    .venv/bin/python benchmarks/million_chunks.py [--chunks 1000000] [--store] [--random] [--texts CORPUS.jsonl] [--questions QUERIES.jsonl]

To embed a million texts would take hours. So some are embedded (by default the sentences of data/sample), and the vectors of the rest are
mixtures of these and their neighbours with noise, because real ones lie in clusters too; `--random` draws directions that have none, the worst
case for cells. Questions are real. First the vector index is measured by itself, then, with `--store`, a whole store of short texts through
RetrievalEngine. CORPUS and QUERIES hold a JSON object with `text` (or `question`) a line.
"""

import argparse
import gc
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import faiss
import numpy as np
import torch

from core.schemas import Chunk, Document, EmbedItem, EncoderInfo, Mode, SearchRequest, SplitDocument
from core.settings import RetrieverSettings, settings
from core.vectors import Vector
from services.embedder.encoder import SentenceEncoder
from services.model_source import resolve
from services.retriever.base import build_base
from services.retriever.engine import RetrievalEngine
from services.retriever.vector_index import VectorIndex

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample"
CANDIDATES, SHOWN = 100, 10
NEIGHBOURS, NOISE = 10, 0.4
ROWS = 50_000
CHUNKS_PER_DOCUMENT = 50
KINDS = ("flat", "ivf")


def main() -> None:
    """Print one line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--probes", type=int, default=settings().retriever.probes)
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--questions", type=Path, default=SAMPLE / "questions.jsonl")
    arguments = parser.parse_args()
    info, texts, real, questions, queries = _embedded(arguments.texts, arguments.questions)
    print(f"{len(texts)} texts, {len(questions)} questions, {arguments.chunks} chunks of dim {info.dim}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vectors = _many(folder, arguments.chunks, _directions(info.dim) if arguments.random else _mixtures(real))
        for kind in KINDS:
            _measure_index(folder, kind, vectors, queries, arguments.probes)
        if arguments.store:
            _measure_store(folder / "store", info, texts, vectors, dict(zip(questions, queries, strict=True)), arguments.probes)


# -- vectors ------------------------------------------------------------------------------------------------------------------------


def _embedded(texts: Path | None, questions: Path) -> tuple[EncoderInfo, list[str], Vector, list[str], Vector]:
    encoder = SentenceEncoder(resolve(settings().embedder.model), name="own", device="cpu", dtype=torch.float32, max_batch_tokens=4096)
    read = _lines_of(texts) if texts else _sentences()
    asked = _lines_of(questions)
    passages, _ = encoder.encode([EmbedItem(text=text[:1_000]) for text in read])
    queries, _ = encoder.encode([EmbedItem(text=text, kind="query") for text in asked])
    return encoder.info, read, np.stack([one.vector for one in passages]), asked, np.stack([one.vector for one in queries])


def _sentences() -> list[str]:
    files = [path for path in sorted((SAMPLE / "documents").rglob("*")) if path.suffix in {".md", ".txt", ".jsonl"}]
    sentences = [part.strip() for path in files for part in re.split(r"\n\s*\n|(?<=[.!?])\s+", path.read_text(encoding="utf-8"))]
    return list(dict.fromkeys(text for text in sentences if len(text) > 40))


def _lines_of(file: Path) -> list[str]:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return list(dict.fromkeys(row.get("text") or row["question"] for row in rows))


def _many(folder: Path, count: int, draw: Callable[[np.random.Generator, int], Vector]) -> Vector:
    """`count` unit rows in a file, float32 `[count, dim]`."""
    rng = np.random.default_rng(1)
    file = folder / "vectors.f32"
    with file.open("wb") as stream:
        for start in range(0, count, ROWS):
            rows = draw(rng, min(ROWS, count - start))
            stream.write((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32).tobytes())
    return np.memmap(file, np.float32, "r").reshape(count, -1)


def _directions(dim: int) -> Callable[[np.random.Generator, int], Vector]:
    return lambda rng, count: rng.standard_normal((count, dim), np.float32)


def _mixtures(real: Vector) -> Callable[[np.random.Generator, int], Vector]:
    _, near = faiss.knn(real, real, min(NEIGHBOURS + 1, len(real)), metric=faiss.METRIC_INNER_PRODUCT)

    def draw(rng: np.random.Generator, count: int) -> Vector:
        first = rng.integers(len(real), size=count)
        others = [near[first, rng.integers(near.shape[1], size=count)] for _ in range(2)]
        weights = rng.dirichlet([2, 1, 1], count).astype(np.float32)
        mixed = sum(weights[:, [part]] * real[chosen] for part, chosen in enumerate([first, *others]))
        noise = rng.standard_normal(mixed.shape, np.float32)
        return mixed / np.linalg.norm(mixed, axis=1, keepdims=True) + NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)

    return draw


# -- the vector index alone ---------------------------------------------------------------------------------------------------------


def _measure_index(folder: Path, kind: str, vectors: Vector, queries: Vector, probes: int) -> None:
    live = np.arange(1, len(vectors) + 1)
    config = _settings(folder, kind, probes)
    truth = faiss.knn(queries, vectors, SHOWN, metric=faiss.METRIC_INNER_PRODUCT)[1] + 1

    def read(ids: np.ndarray) -> Iterator[tuple[np.ndarray, Vector]]:
        for start in range(0, ids.size, 4_096):
            part = ids[start : start + 4_096]
            yield part, vectors[part - 1]

    file, build_s = _timed(lambda: build_base(folder, vectors.shape[1], live, read, config))
    gc.collect()
    before = _private_mib()
    index, open_s = _timed(lambda: VectorIndex.open(folder, vectors.shape[1], file, live, read, config))
    _, exchange_s = _timed(lambda: index.adopt(file))
    memory = _private_mib() - before
    print(f"{kind}: built in {build_s:.1f} s, {file.size_bytes / 1e6:.0f} MB, opened in {open_s:.2f} s, {memory} MiB of its own", flush=True)
    print(f"  check of the file and exchange of the base {exchange_s:.2f} s", flush=True)
    for share in (1.0, 0.5, 0.1, 0.01, 0.001):
        _measure_searches(index, share, vectors, queries, truth)
    file.path(folder).unlink()


def _measure_searches(index: VectorIndex, share: float, vectors: Vector, queries: Vector, truth: np.ndarray) -> None:
    allowed = None
    if share < 1:
        allowed = np.sort(np.random.default_rng(2).choice(len(vectors), max(SHOWN, int(share * len(vectors))), replace=False)) + 1
        queries = queries[:50]
        truth = allowed[faiss.knn(queries, vectors[allowed - 1], SHOWN, metric=faiss.METRIC_INNER_PRODUCT)[1]]
    times, hits = [], 0
    for query, best in zip(queries, truth, strict=True):
        found, seconds = _timed(partial(index.search, query, CANDIDATES, allowed))
        times.append(seconds)
        hits += len(set(best.tolist()) & found.keys())
    print(f"  among {share:7.1%}: {_percentiles(times)}, recall@{SHOWN} of {CANDIDATES} candidates {hits / truth.size:.3f}", flush=True)


# -- a whole store ------------------------------------------------------------------------------------------------------------------


def _measure_store(folder: Path, info: EncoderInfo, texts: Sequence[str], vectors: Vector, queries: dict[str, Vector], probes: int) -> None:
    _, seconds = _timed(lambda: _fill(_settings(folder, "ivf", probes, compact_after=10**9), info, texts, vectors))
    print(f"store filled in {seconds:.0f} s, {len(vectors) / seconds:.0f} chunks a second without embedding", flush=True)
    for kind in KINDS:
        for path in folder.glob("vectors-*"):
            path.unlink()
        config = _settings(folder, kind, probes)
        engine, seconds = _timed(partial(RetrievalEngine.open, config))
        print(f"{kind}: start without a snapshot {seconds:.2f} s, {_private_mib()} MiB private memory", flush=True)
        engine.bind_encoder(info)
        _, seconds = _timed(engine.write_snapshot)
        print(f"  snapshot written in {seconds:.1f} s", flush=True)
        engine.close()
        del engine
        gc.collect()
        engine, seconds = _timed(partial(RetrievalEngine.open, config))
        print(f"  start with a snapshot {seconds:.2f} s, {_private_mib()} MiB private memory; on the disk {_sizes(folder)}", flush=True)
        for mode in get_args(Mode):
            times = [_timed(partial(engine.search, _asking(text, mode), vector))[1] for text, vector in queries.items()]
            print(f"  {mode:8} {_percentiles(times)}", flush=True)
        engine.close()


def _fill(config: RetrieverSettings, info: EncoderInfo, texts: Sequence[str], vectors: Vector) -> None:
    engine = RetrievalEngine.open(config)
    engine.bind_encoder(info)
    for start in range(0, len(vectors), CHUNKS_PER_DOCUMENT):
        rows = vectors[start : start + CHUNKS_PER_DOCUMENT]
        engine.add(_document(start, len(rows), texts, info.fingerprint), rows)
    engine.close()


def _document(number: int, count: int, texts: Sequence[str], fingerprint: str) -> SplitDocument:
    """A document of `count` short chunks, each of its own words and some of a real text."""
    parts = [f"{texts[(number + ordinal) % len(texts)][:120]} {number + ordinal}" for ordinal in range(count)]
    starts = np.cumsum([0, *(len(part) + 1 for part in parts)]).tolist()
    chunks = tuple(Chunk(ordinal=at, start=starts[at], end=starts[at] + len(part), text=part) for at, part in enumerate(parts))
    return SplitDocument(document=Document(id=f"document {number}", text="\n".join(parts)), chunks=chunks, encoder=fingerprint)


def _asking(text: str, mode: Mode) -> SearchRequest:
    return SearchRequest(query=text, mode=mode, top_k=SHOWN)


# -- figures ------------------------------------------------------------------------------------------------------------------------


def _settings(folder: Path, kind: str, probes: int, compact_after: int = 1) -> RetrieverSettings:
    changes = {"data_dir": folder, "exact_up_to": 10**9 if kind == "flat" else 0, "probes": probes, "compact_after": compact_after}
    return settings().retriever.model_copy(update=changes)


def _timed(action: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = action()
    return result, time.perf_counter() - started


def _percentiles(seconds: Sequence[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return f"p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms"


def _private_mib() -> int:
    """Memory of this process that no file backs; pages of a mapped snapshot can be taken away at any time."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) // 1024  # type: ignore[index]


def _sizes(folder: Path) -> str:
    databases = sum(path.stat().st_size for path in folder.iterdir() if ".db" in path.name)
    snapshots = sum(path.stat().st_size for path in folder.glob("vectors-*"))
    return f"{databases / 1e6:.0f} MB database, {snapshots / 1e6:.0f} MB snapshot"


if __name__ == "__main__":
    main()
