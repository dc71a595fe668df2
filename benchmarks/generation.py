"""How much does batching step by step give? Summaries a second at offered loads of 1 to 256 prompts, by a model with random weights.

    .venv/bin/python benchmarks/generation.py --model t5-small [--device cuda --dtype bfloat16 --loads 1,16,256]

Each load is so many callers, each of whom asks again as soon as it has its summary. Compared in one run on the same prompts: the engine with all
that are offered in one running batch; the same engine with one at a time; and transformers' plain `generate` over fixed batches of the best size.
Tokens a second are those that were asked for: a fixed batch also computes what its shorter texts don't need.
"""

import argparse
import asyncio
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from random_models import MODELS, WORDS, save

from services.generator.engines.causal import CausalEngine
from services.generator.engines.engine import Prompt, Read, Written
from services.generator.engines.running import ScheduledEngine
from services.generator.engines.seq2seq import Seq2SeqEngine


@dataclass
class Seen:
    """An Observer of rows a step and of padding."""

    rows: list[int] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)

    def read(self, read: Read, seconds: float) -> None:
        """See Observer."""
        self.reads.append(read)

    def stepped(self, rows: int, seconds: float) -> None:
        """See Observer."""
        self.rows.append(rows)

    def ended(self, new_tokens: int) -> None:
        """See Observer."""

    def first_token(self, seconds: float) -> None:
        """See Observer."""


@dataclass(frozen=True)
class Outcome:
    """Of one load: tokens a second, a caller's seconds, rows a step, and the share of padding in what was read."""

    tokens_per_s: float
    p50_s: float
    p99_s: float
    rows: float
    padding: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(MODELS), default="t5-small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--loads", type=lambda text: [int(part) for part in text.split(",")], default=[1, 4, 16, 64, 256])
    parser.add_argument("--prompt-tokens", type=int, default=250, help="the mean; drawn from half to one and a half of it")
    parser.add_argument("--new-tokens", type=int, default=64, help="the most; drawn from a quarter of it")
    parser.add_argument("--prompts", type=int, default=2, help="prompts a caller, at least 16 in all")
    arguments = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"{time.strftime('%Y-%m-%d')}, {_device(arguments.device)}, {os.cpu_count()} cores, {threads} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        save(arguments.model, Path(folder), getattr(torch, arguments.dtype))
        _measure(Path(folder), arguments)


def _device(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or platform.machine()


def _prompts(count: int, arguments: argparse.Namespace) -> list[Prompt]:
    draw = random.Random(count)
    lengths = [draw.randint(arguments.prompt_tokens // 2, arguments.prompt_tokens * 3 // 2) for _ in range(count)]
    words = "t5" in arguments.model
    return [
        Prompt(
            "",
            " ".join(f"w{draw.randrange(WORDS)}" for _ in range(length)) if words else "".join(draw.choices(ascii_lowercase, k=length)),
            draw.randint(arguments.new_tokens // 4, arguments.new_tokens),
        )
        for length in lengths
    ]


def _measure(folder: Path, arguments: argparse.Namespace) -> None:
    plain = _best_plain(folder, arguments)
    alone = asyncio.run(_engine_at(folder, 1, arguments, max_running=1))
    print(f"engine, one at a time      {alone.tokens_per_s:9.0f} tokens/s")
    print("load   tokens/s   x one at a time   x plain   p50 s   p99 s   p99/p50   rows a step   padding")
    for load in arguments.loads:
        outcome = asyncio.run(_engine_at(folder, load, arguments, max_running=max(arguments.loads)))
        print(
            f"{load:4} {outcome.tokens_per_s:10.0f} {outcome.tokens_per_s / alone.tokens_per_s:17.2f} {outcome.tokens_per_s / plain:9.2f}"
            f" {outcome.p50_s:7.2f} {outcome.p99_s:7.2f} {outcome.p99_s / outcome.p50_s:9.2f} {outcome.rows:13.1f} {outcome.padding:9.0%}"
        )
    if arguments.device.startswith("cuda"):
        print(f"GPU memory at most: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


def _engine(folder: Path, arguments: argparse.Namespace, max_running: int, seen: Seen) -> ScheduledEngine:
    kind = Seq2SeqEngine if "t5" in arguments.model else CausalEngine
    return kind(
        folder,
        name=arguments.model,
        device=arguments.device,
        dtype=getattr(torch, arguments.dtype),
        max_new_tokens=arguments.new_tokens,
        max_batch_tokens=16_384,
        max_running=max_running,
        kv_tokens=max_running * 2 * (arguments.prompt_tokens * 3 // 2 + arguments.new_tokens),
        observer=seen,
    )


async def _engine_at(folder: Path, load: int, arguments: argparse.Namespace, max_running: int) -> Outcome:
    seen = Seen()
    engine = _engine(folder, arguments, max_running, seen)
    prompts = _prompts(max(16, arguments.prompts * load), arguments)
    await engine.write(prompts[: min(load, 8)])
    seen.rows.clear()
    seen.reads.clear()
    left, latencies = iter(prompts), []
    tokens = 0

    async def caller() -> None:
        nonlocal tokens
        for prompt in left:
            asked = time.perf_counter()
            (written,) = await engine.write([prompt])
            assert isinstance(written, Written)
            latencies.append(time.perf_counter() - asked)
            tokens += written.new_tokens

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(load)))
    seconds = time.perf_counter() - started
    engine.close()
    latencies.sort()
    computed = sum(read.padded_tokens for read in seen.reads)
    return Outcome(
        tokens / seconds,
        statistics.median(latencies),
        latencies[int(0.99 * (len(latencies) - 1))],
        statistics.mean(seen.rows),
        1 - sum(read.tokens for read in seen.reads) / computed,
    )


def _best_plain(folder: Path, arguments: argparse.Namespace) -> float:
    """Tokens a second of plain `generate` at the best of the fixed batch sizes."""
    engine = _engine(folder, arguments, 1, Seen())
    model = engine._runner._decoder._model  # type: ignore[attr-defined]
    rates = {}
    for size in arguments.loads:
        prompts = _prompts(max(16, size), arguments)
        _generate(model, engine, prompts[: min(size, 8)])
        started = time.perf_counter()
        for first in range(0, len(prompts), size):
            _generate(model, engine, prompts[first : first + size])
        rates[size] = sum(prompt.max_new_tokens for prompt in prompts) / (time.perf_counter() - started)
        print(f"plain generate, batch {size:4} {rates[size]:9.0f} tokens/s")
    engine.close()
    return max(rates.values())


def _generate(model: Any, engine: ScheduledEngine, prompts: Sequence[Prompt]) -> None:
    rows = engine._encode(prompts)
    longest = max(map(len, rows))
    # Decoders are padded on the left; where an encoder has its padding makes no difference to the work.
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows], device=model.device)
    output = model.generate(
        ids, attention_mask=(ids != 0).long(), max_new_tokens=max(prompt.max_new_tokens for prompt in prompts), do_sample=False, num_beams=1
    )
    output[0, -1].item()


if __name__ == "__main__":
    main()
