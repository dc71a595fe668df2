"""How many single sentences a second does an embedding server embed, and how long does one take?

    .venv/bin/python benchmarks/embedding_server.py [--texts CORPUS.jsonl] [--json FILE] [--plot FILE.svg]
    .venv/bin/python benchmarks/embedding_server.py --sides embedder,infinity --clients 1,32 --seconds 2 --rounds 2

Sides: `embedder`, Ekiben's Embedder under `bentoml serve` alone, asked over HTTP and JSON as from another host; `gateway`, POST /v1/embeddings of
the four services; `infinity`, infinity-emb with its torch engine; `fastapi`, an endpoint around SentenceTransformer.encode; `bentoml`, BentoML's
own example of a batchable service. All run at the same time and one is asked at a time, in turns. Each load is so many clients, each of whom asks
its next sentence when it has its vector; no sentence comes twice. After the largest load one client asks alone (`1 after 64`). `in process` is the
Embedder as a plain object without BentoML and a wire, in turns with the loads of a lone client. All sides' vectors are compared first.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from closed_loop import Call, Load, Row, ask, measure, plot, print_skipped, print_table, rows, write_json
from peers import PROBE, PROGRAMS, Bench, Skipped, add_options, bench, check_vectors, local, print_machine
from texts import paragraphs, sentences, unending

from clients.local_server import LOCALHOST, free_port
from core.vectors import unpack

OURS = ("embedder", "gateway", "in process")
WARM_UP_S = 2.0
WARM_UP_CLIENTS = 32


@dataclass(frozen=True)
class Side:
    """How a side is started and asked. `packages` names the environment whose versions are printed."""

    packages: str
    command: Callable[[Bench, int], Sequence[str | Path]]
    ready: str
    call: Callable[[int, str], Call]
    vector: Callable[[Any], Any]


def _embedder(bench: Bench, port: int) -> Sequence[str | Path]:
    return _bentoml_serve(sys.executable, "services.embedder.service:Embedder", port)


def _gateway(bench: Bench, port: int) -> Sequence[str | Path]:
    return (sys.executable, "-m", "clients", "serve", "--host", LOCALHOST, "--port", str(port), "--data", bench.folder / "gateway")


def _infinity(bench: Bench, port: int) -> Sequence[str | Path]:
    program = bench.python("infinity").with_name("infinity_emb")
    return (program, "v2", "--model-id", bench.model, "--served-model-name", "m", "--engine", "torch", "--host", LOCALHOST, "--port", str(port))


def _fastapi(bench: Bench, port: int) -> Sequence[str | Path]:
    return (bench.python("fastapi"), "-m", "uvicorn", "--app-dir", PROGRAMS, "fastapi_embedding:app", "--host", LOCALHOST, "--port", str(port))


def _batchable(bench: Bench, port: int) -> Sequence[str | Path]:
    return (*_bentoml_serve(bench.python("bentoml"), "bentoml_embedding:SentenceEmbedding", port), "--working-dir", PROGRAMS)


def _bentoml_serve(python: str | Path, service: str, port: int) -> Sequence[str | Path]:
    # As deploy/Dockerfile starts a service.
    return (python, "-m", "bentoml", "serve", service, "--host", LOCALHOST, "--port", str(port), "--timeout-keep-alive", "75")


SIDES = {
    "embedder": Side(
        "ekiben",
        _embedder,
        "/readyz",
        lambda port, text: Call(local(port, "/embed"), {"items": [{"text": text, "kind": "query"}]}),
        lambda answer: unpack(answer[0]["vector"]),
    ),
    "gateway": Side(
        "ekiben",
        _gateway,
        "/readyz",
        lambda port, text: Call(local(port, "/v1/embeddings"), {"model": "ekiben", "input": text}),
        lambda answer: answer["data"][0]["embedding"],
    ),
    "infinity": Side(
        "infinity",
        _infinity,
        "/health",
        lambda port, text: Call(local(port, "/embeddings"), {"model": "m", "input": [text]}),
        lambda answer: answer["data"][0]["embedding"],
    ),
    "fastapi": Side(
        "fastapi",
        _fastapi,
        "/openapi.json",
        lambda port, text: Call(local(port, "/embed"), {"text": text}),
        lambda answer: answer["embedding"],
    ),
    "bentoml": Side(
        "bentoml",
        _batchable,
        "/readyz",
        lambda port, text: Call(local(port, "/encode"), {"sentences": [text]}),
        lambda answer: answer[0],
    ),
}


def main() -> None:
    """Print the table; write plot and JSON where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, help="a file of JSON objects with `text`; its sentences are embedded")
    parser.add_argument("--sides", type=lambda text: text.split(","), default=list(SIDES))
    parser.add_argument("--clients", type=lambda text: [int(part) for part in text.split(",")], default=[1, 8, 32, 64])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=5)
    add_options(parser)
    arguments = parser.parse_args()
    texts = sentences(paragraphs(arguments.texts, 5_000 if arguments.texts else 200))
    with tempfile.TemporaryDirectory() as name, bench(arguments, Path(name), with_clients=True) as here, ExitStack() as stack:
        calls, skipped = _started(here, stack, arguments.sides, texts)
        about = print_machine(here, {side: here.versions(SIDES[side].packages) for side in calls})
        check_vectors({name: SIDES[name].vector(ask(own)) for name, own in calls.items()})
        loads = _measured(here, calls, arguments, texts)
        found = rows(loads, OURS)
        print_table(found)
        _print_goals(found)
        print_skipped(skipped)
        write_json(arguments.json, {**about, "seconds": arguments.seconds, "rounds": arguments.rounds}, found, skipped)
        plot(arguments.plot, found)


def _started(bench: Bench, stack: ExitStack, names: Sequence[str], texts: Sequence[str]) -> tuple[dict[str, Iterator[Call]], dict[str, str]]:
    """The sides that run, and why others don't. The first call is the probe's."""
    calls: dict[str, Iterator[Call]] = {}
    skipped = {}
    for name in names:
        side, port = SIDES[name], free_port()
        try:
            stack.enter_context(bench.serving(name, side.command(bench, port), local(port, side.ready)))
        except Skipped as reason:
            skipped[name] = str(reason)
            continue
        calls[name] = map(partial(side.call, port), chain([PROBE], unending(texts)))
    return calls, skipped


def _measured(bench: Bench, calls: dict[str, Iterator[Call]], arguments: argparse.Namespace, texts: Sequence[str]) -> list[Load]:
    for name, own in calls.items():
        measure(name, own, WARM_UP_CLIENTS, WARM_UP_S)
    loads = []
    most = max(arguments.clients)
    with _InProcess(bench, texts) as alone:
        for number in range(arguments.rounds):
            for clients in arguments.clients:
                for name, own in calls.items():
                    loads.append(measure(name, own, clients, arguments.seconds))
                    if clients == most > 1:
                        loads.append(measure(name, own, 1, arguments.seconds, f"1 after {most}"))
                if clients == 1 and "embedder" in calls:
                    loads.append(alone.measure(arguments.seconds))
            print(f"  round {number + 1} of {arguments.rounds}", flush=True)
    return loads


def _print_goals(found: Sequence[Row]) -> None:
    """The Embedder beside infinity at each load, and a lone client's wait beside the one in process."""
    of = {(row["clients"], row["side"]): row for row in found}
    print()
    for clients in dict.fromkeys(row["clients"] for row in found):
        ours, theirs = of.get((clients, "embedder")), of.get((clients, "infinity"))
        if ours and theirs and theirs["requests"]:
            ratio = ours["per_s"] / theirs["per_s"]
            print(f"embedder at {clients}: {ratio:.2f} x infinity's requests/s, p99 {ours['p99_ms']:.1f} against {theirs['p99_ms']:.1f} ms")
    if alone := of.get(("1", "in process")):
        waits = {clients: row["p50_ms"] - alone["p50_ms"] for (clients, side), row in of.items() if side == "embedder" and clients.split()[0] == "1"}
        print("a lone client's p50 against the one in process: " + ", ".join(f"{clients}: {wait:+.1f} ms" for clients, wait in waits.items()))


class _InProcess:
    """The Embedder as a plain object in a process of its own, which only computes when it is asked."""

    def __init__(self, bench: Bench, texts: Sequence[str]) -> None:
        self._texts = unending(texts)
        self._program = bench.started((sys.executable, PROGRAMS / "engine_alone.py"))

    def __enter__(self) -> "_InProcess":
        for _ in range(20):
            self._ask()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._program.stdin
        self._program.stdin.close()
        self._program.wait()

    def measure(self, seconds: float) -> Load:
        started = time.perf_counter()
        latencies = []
        while time.perf_counter() - started < seconds:
            latencies.append(self._ask())
        return Load("in process", "1", 1 / statistics.mean(latencies), tuple(sorted(latencies)))

    def _ask(self) -> float:
        assert self._program.stdin and self._program.stdout
        self._program.stdin.write(json.dumps(next(self._texts)) + "\n")
        self._program.stdin.flush()
        return float(self._program.stdout.readline())


if __name__ == "__main__":
    main()
