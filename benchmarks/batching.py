"""What does batching over all requests give? Many people ask at once, and every question has its passages summarized by a model.

    .venv/bin/python benchmarks/batching.py [--clients 1,4,16,64] [--passages 8] [--plot FILE.svg] [--json FILE]
    .venv/bin/python benchmarks/batching.py --model flan-t5-base --device cuda

Starts the four services with the sample documents and a model of random weights, twice: as it is, and with `generator.max_running` 1, so that
one text is written after the other. Each load is so many clients, each of whom asks its next question when it has its answer. Batches and padding
are read from /metrics. Summaries always have as many tokens as they may have: that is the model's part; what they say is nothing.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import httpx
import torch
from prometheus_client.parser import text_string_to_metric_families
from random_models import MODELS, save

from clients.http_client import EkibenClient
from clients.local_server import LOCALHOST, free_port, local_server, wait_until_ready
from core.schemas import Answer, AnswerRequest, Document

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "sample"
SIDES = {"batched": {}, "one text at a time": {"EKIBEN_GENERATOR__MAX_RUNNING": "1"}}
PATIENCE_S = 600.0


@dataclass(frozen=True)
class Outcome:
    """Of one load on one side. `items` a batch of BentoML's, `read` prompts a pass of the model, `running` texts a step of it."""

    side: str
    clients: int
    questions: int
    summaries_per_s: float
    p50_s: float
    p99_s: float
    items: float
    read: float
    running: float
    padding: float


def main() -> None:
    """Print the table; write plot and JSON where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=[name for name in MODELS if "t5" in name], default="t5-small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clients", type=lambda text: [int(part) for part in text.split(",")], default=[1, 4, 16, 64])
    parser.add_argument("--most-alone", type=int, default=16, help="clients at most where one text is written at a time: more make it no faster")
    parser.add_argument("--passages", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=16, help="of each summary")
    parser.add_argument("--questions", type=int, default=2, help="questions a client, at least 8 in all; where one text is written at a time half")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores, {arguments.device}, "
        f"torch {torch.__version__}, bentoml {version('bentoml')}; {arguments.passages} passages a question, {arguments.new_tokens} tokens a summary"
    )
    outcomes = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(arguments.model, folder / "model", torch.float32, (document.text for document in _documents()))
        for side, settings in SIDES.items():
            with _serving(folder / side, folder / "model", arguments, settings) as url:
                loads = [clients for clients in arguments.clients if side == "batched" or clients <= arguments.most_alone]
                outcomes += [_measured(url, side, clients, arguments) for clients in loads]
    _print(outcomes)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=2) + "\n")
    if arguments.plot:
        _plot(outcomes, arguments.plot)


def _documents() -> list[Document]:
    files = sorted((SAMPLE / "documents").rglob("*.md"))
    return [Document(id=file.stem, text=file.read_text(encoding="utf-8")) for file in files]


@contextmanager
def _serving(folder: Path, model: Path, arguments: argparse.Namespace, settings: dict[str, str]) -> Iterator[str]:
    """The URL of services that hold the sample documents and have answered once."""
    own = {
        "EKIBEN_GENERATOR__BACKEND": "seq2seq",
        "EKIBEN_GENERATOR__MODEL": str(model),
        "EKIBEN_GENERATOR__DEVICE": arguments.device,
        "EKIBEN_GENERATOR__MAX_NEW_TOKENS": str(arguments.new_tokens),
        # Nobody is given up: how long all of them take is what is measured.
        **{f"EKIBEN_{key}_TIMEOUT_S": str(PATIENCE_S) for key in ("ANSWERING__SUMMARY", "ANSWERING__COMPOSE", "ANSWERING__ANSWER")},
        **{f"EKIBEN_{key}__TIMEOUT_S": str(2 * PATIENCE_S) for key in ("GENERATOR", "GATEWAY")},
        "EKIBEN_LOGGING__LEVEL": "WARNING",
        **settings,
    }
    os.environ.update(own)
    folder.mkdir()
    url = f"http://{LOCALHOST}:{(port := free_port())}"
    try:
        with (folder / "output.txt").open("wb") as output, local_server(LOCALHOST, port, folder / "data", output) as server:
            if not wait_until_ready(url, server):
                raise SystemExit((folder / "output.txt").read_text())
            with EkibenClient(url, timeout_s=2 * PATIENCE_S) as client:
                client.add(_documents())
            _ask(url, _questions()[0], arguments.passages)
            yield url
    finally:
        for key in own:
            del os.environ[key]


def _questions() -> list[str]:
    return [json.loads(line)["question"] for line in (SAMPLE / "questions.jsonl").read_text(encoding="utf-8").splitlines()]


def _ask(url: str, question: str, passages: int) -> Answer:
    with EkibenClient(url, timeout_s=2 * PATIENCE_S) as client:
        answer = client.answer(AnswerRequest(question=question, top_k=passages))
    if answer.degraded or len(answer.summaries) != passages:
        raise SystemExit(f"{question}: {len(answer.summaries)} summaries, {answer.notes}")
    return answer


def _measured(url: str, side: str, clients: int, arguments: argparse.Namespace) -> Outcome:
    each = arguments.questions if side == "batched" else max(1, arguments.questions // 2)
    questions = _questions()
    asked = [questions[number % len(questions)] for number in range(max(8, clients * each))]
    latencies = []

    def ask(question: str) -> None:
        started = time.perf_counter()
        _ask(url, question, arguments.passages)
        latencies.append(time.perf_counter() - started)

    before = _metrics(url)
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, asked))
    seconds = time.perf_counter() - started
    after = _metrics(url)

    def mean(name: str, operation: str = "") -> float:
        total, count = (after[name, operation, part] - before.get((name, operation, part), 0.0) for part in ("sum", "count"))
        return total / count

    latencies.sort()
    outcome = Outcome(
        side=side,
        clients=clients,
        questions=len(asked),
        summaries_per_s=len(asked) * arguments.passages / seconds,
        p50_s=statistics.median(latencies),
        p99_s=latencies[int(0.99 * (len(latencies) - 1))],
        items=mean("ekiben_batch_items", "summarize"),
        read=mean("ekiben_batch_items", "read"),
        running=mean("ekiben_running_sequences"),
        padding=mean("ekiben_batch_padding_ratio", "read"),
    )
    print(f"  {side}, {clients} clients: {outcome.summaries_per_s:.1f} summaries/s", flush=True)
    return outcome


def _metrics(url: str) -> dict[tuple[str, str, str], float]:
    """(name, operation, "sum" or "count") of the Generator's histograms."""
    found = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        for sample in family.samples:
            part = sample.name.removeprefix(f"{family.name}_")
            if family.type == "histogram" and part in ("sum", "count") and sample.labels.get("service") == "generator":
                found[family.name, sample.labels.get("operation", ""), part] = sample.value
    return found


def _print(outcomes: Sequence[Outcome]) -> None:
    print("\n| clients | side | summaries/s | x | p50 s | p99 s | p99/p50 | a batch | prompts a pass | padding | texts a step |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    plain = max(outcome.summaries_per_s for outcome in outcomes if outcome.side != "batched")
    for one in sorted(outcomes, key=lambda one: (one.clients, one.side != "batched")):
        print(
            f"| {one.clients} | {one.side} | {one.summaries_per_s:.1f} | {one.summaries_per_s / plain:.1f} | {one.p50_s:.2f} "
            f"| {one.p99_s:.2f} | {one.p99_s / one.p50_s:.1f} | {one.items:.1f} | {one.read:.1f} | {one.padding:.0%} | {one.running:.1f} |"
        )


def _plot(outcomes: Sequence[Outcome], path: Path) -> None:
    """Throughput and latency against offered load, side by side."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "ekiben"
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    rates, waits = figure.subplots(1, 2)
    for side, colour in zip(SIDES, ("#2f6f8f", "#b0603a"), strict=True):
        ours = [outcome for outcome in outcomes if outcome.side == side]
        clients = [outcome.clients for outcome in ours]
        rates.plot(clients, [outcome.summaries_per_s for outcome in ours], "o-", color=colour, label=side)
        waits.plot(clients, [outcome.p50_s for outcome in ours], "o-", color=colour, label=f"{side}, median")
        waits.plot(clients, [outcome.p99_s for outcome in ours], "o--", color=colour, label=f"{side}, 99th percentile")
    for axes, title in ((rates, "summaries a second"), (waits, "seconds a question")):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("clients asking at once")
        axes.set_xscale("log", base=2)
        axes.set_xticks([outcome.clients for outcome in outcomes], [str(outcome.clients) for outcome in outcomes])
        axes.set_ylim(0, None)
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
