"""How fast is the encoder against SentenceTransformer.encode as it comes, and how long does one question take while documents are embedded?

    .venv/bin/python benchmarks/encoding.py [--texts FILE] [--passages 128] [--rounds 5] [--threads 1]

FILE holds a text a line, or with the ending .jsonl a JSON object with `text` a line; without it the paragraphs of data/sample are taken. All sides
run in one process and take turns; the figures are medians. (a) Passages in batches of 32, the way of each side: SentenceTransformer pads each
batch to its longest text; ours packs them. (b) A sentence or question alone. (c) A question that comes while a bulk of passages is being
embedded: in the order of their coming, as a queue without priorities has it, and between the layers of the bulk's passes.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch
import transformers
from sentence_transformers import SentenceTransformer

from core.schemas import Document, EmbedItem
from core.settings import settings
from core.vectors import Vector
from pipelines.ingestion.loading import SUPPORTED_SUFFIXES, load_file
from services.devices import choose_batch_tokens, choose_encoder_dtype
from services.embedder.encoder import SentenceEncoder
from services.embedder.model_thread import ModelThread
from services.model_source import resolve

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample"
BATCH = 32
QUESTIONS = 32
SHORTEST_PARAGRAPH = 200
BASELINE = "SentenceTransformer float32"

Encode = Callable[[Sequence[str]], Vector]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--passages", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    texts = (_lines_of(arguments.texts) if arguments.texts else _sample_paragraphs())[: arguments.passages]
    questions = [json.loads(line)["question"] for line in (SAMPLE / "questions.jsonl").read_text(encoding="utf-8").splitlines()][:QUESTIONS]
    folder = resolve(settings().embedder.model)
    encoders = {str(dtype).removeprefix("torch."): _encoder(folder, dtype) for dtype in _dtypes()}
    theirs = SentenceTransformer(str(folder), device="cpu")
    sides: dict[str, Encode] = {BASELINE: lambda some: np.asarray(theirs.encode(list(some), batch_size=BATCH, show_progress_bar=False))}
    sides |= {f"{encoder.engine.name} {name}": _in_batches(encoder) for name, encoder in encoders.items()}
    _print_machine(arguments.threads, folder)
    _print_speed(sides, texts, questions, arguments.rounds)
    _print_fidelity(sides, texts)
    for name, encoder in encoders.items():
        asyncio.run(_print_waiting(name, encoder, texts, questions))


def _dtypes() -> list[torch.dtype]:
    return list(dict.fromkeys([torch.float32, choose_encoder_dtype("auto", "cpu")]))


def _encoder(folder: Path, dtype: torch.dtype) -> SentenceEncoder:
    return SentenceEncoder(folder, name="own", device="cpu", dtype=dtype, max_batch_tokens=choose_batch_tokens(0, "cpu"))


def _in_batches(encoder: SentenceEncoder) -> Encode:
    def encode(texts: Sequence[str]) -> Vector:
        batches = [encoder.encode([EmbedItem(text=text) for text in part])[0] for part in _parts(texts)]
        return np.stack([one.vector for batch in batches for one in batch])

    return encode


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[first : first + BATCH] for first in range(0, len(texts), BATCH))


# -- tables ---------------------------------------------------------------------------------------------------------------------------


def _print_machine(threads: int, folder: Path) -> None:
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    flags = [name for name, has in (("AMX", torch.cpu._is_amx_tile_supported()), ("AVX512-BF16", torch.cpu._is_avx512_bf16_supported())) if has]
    chip = f"{model[1] if model else platform.machine()} ({', '.join(flags) or 'neither AMX nor AVX512-BF16'}), {os.cpu_count()} cores"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, sentence-transformers {sentence_transformers.__version__}"
    print(f"{time.strftime('%Y-%m-%d')}, {chip}, {threads} threads, {versions}, model {folder.name}", flush=True)


def _print_speed(sides: dict[str, Encode], texts: Sequence[str], questions: Sequence[str], rounds: int) -> None:
    bulk: dict[str, list[float]] = {name: [] for name in sides}
    alone: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, encode in sides.items():
            seconds = [_seconds(encode, texts)], [_seconds(encode, [question]) for question in questions]
            if number:  # the first round warms up
                bulk[name] += seconds[0]
                alone[name] += seconds[1]
    print(f"\n{len(texts)} passages, {rounds} rounds   {'passages/s':>10} {'ratio':>6}   {'one question, p50':>18} {'p95':>8} {'ratio':>6}")
    for name in sides:
        rates = [len(texts) / seconds for seconds in bulk[name]]
        ratio = statistics.median(a / b for a, b in zip(bulk[BASELINE], bulk[name], strict=True))
        p50, p95 = statistics.median(alone[name]), statistics.quantiles(alone[name], n=20)[-1]
        faster = statistics.median(alone[BASELINE]) / p50
        print(f"{name:28} {statistics.median(rates):8.1f} {ratio:6.2f}x {p50 * 1000:15.2f} ms {p95 * 1000:5.2f} ms {faster:5.2f}x")


def _seconds(encode: Encode, texts: Sequence[str]) -> float:
    started = time.perf_counter()
    encode(texts)
    return time.perf_counter() - started


def _print_fidelity(sides: dict[str, Encode], texts: Sequence[str]) -> None:
    fitting = [text for text in texts if len(text) < 600]  # a longer one may be cut by SentenceTransformer, and is read to its end by ours
    made = {name: encode(fitting) for name, encode in sides.items()}
    for name, vectors in made.items():
        cosines = np.sum(vectors * made[BASELINE], axis=1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(made[BASELINE], axis=1)
        print(f"{name:28} cosine to {BASELINE}: mean {cosines.mean():.6f}, least {cosines.min():.6f} of {len(fitting)}")


async def _print_waiting(name: str, encoder: SentenceEncoder, texts: Sequence[str], questions: Sequence[str]) -> None:
    """Milliseconds of questions that come one after the other while passages are embedded without end."""
    for way, bulk in (("in the order of their coming", False), ("between two layers", True)):
        model = ModelThread(lambda _: None)
        ingestions = [asyncio.create_task(_ingest(model, encoder, texts, bulk=bulk)) for _ in range(2)]
        await asyncio.sleep(0.5)
        waits = [await _timed(model.embed(encoder.engine, encoder.cut([EmbedItem(text=question, kind="query")]))) for question in questions]
        for ingestion in ingestions:
            ingestion.cancel()
        await asyncio.gather(*ingestions, return_exceptions=True)
        model.close()
        p50, p95 = statistics.median(waits) * 1000, statistics.quantiles(waits, n=20)[-1] * 1000
        print(f"a question during an ingestion, {name}, {way}: p50 {p50:.1f} ms, p95 {p95:.1f} ms", flush=True)


async def _ingest(model: ModelThread, encoder: SentenceEncoder, texts: Sequence[str], *, bulk: bool) -> None:
    while True:
        for part in _parts(texts):
            await model.embed(encoder.engine, encoder.cut([EmbedItem(text=text) for text in part]), bulk=bulk)


async def _timed(work: Any) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


# -- texts ----------------------------------------------------------------------------------------------------------------------------


def _lines_of(file: Path) -> list[str]:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [json.loads(line)["text"] for line in lines] if file.suffix == ".jsonl" else lines


def _sample_paragraphs() -> list[str]:
    files = [path for path in sorted((SAMPLE / "documents").rglob("*")) if path.suffix in SUPPORTED_SUFFIXES]
    documents = [item for path in files for item in load_file(path, id=path.name, limits=settings().ingestion) if isinstance(item, Document)]
    parts = [" ".join(part.split()) for document in documents for part in re.split(r"\n\s*\n", document.text)]
    return [part for part in parts if len(part) >= SHORTEST_PARAGRAPH]


if __name__ == "__main__":
    main()
