"""How many questions a second does a server find the passages of, and how long does one take?

    .venv/bin/python benchmarks/answering_peers.py [--texts CORPUS.jsonl --questions QUERIES.jsonl --paragraphs 2067] [--json FILE] [--plot FILE]
    .venv/bin/python benchmarks/answering_peers.py --paragraphs 200 --sides ekiben,txtai --clients 1,32 --seconds 2 --rounds 2

Each side has stored the same paragraphs and gives the ten best for a question, by words and by meaning: `ekiben`, POST /v1/search of the four
services; `haystack`, BM25 and vectors of its in-memory store, joined by reciprocal rank fusion, behind hayhooks; `txtai`, its API server over a
hybrid index with content. All run at the same time and one is asked at a time, in turns. Each load is so many clients, each of whom asks its next
question when it has its passages; no question comes twice. First all are asked the same questions: how many of the ten passages each has in common
with Ekiben's.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from closed_loop import Call, Load, ask, measure, plot, print_skipped, print_table, rows, write_json
from ingesting_peers import ingested_by_peer, write_corpus
from peers import PROGRAMS, Bench, Skipped, add_options, bench, local, print_machine
from texts import paragraphs, questions, unending

from clients.local_server import LOCALHOST, free_port

OURS = ("ekiben",)
TOP_K = 10
COMPARED = 10
WARM_UP_S = 2.0
WARM_UP_CLIENTS = 8


@dataclass(frozen=True)
class Side:
    """How a side is started over the corpus, and asked; `passages` are the texts of its answer. `start` returns command and environment."""

    start: Callable[[Bench, Path, int], tuple[Sequence[str | Path], dict[str, str]]]
    ready: str
    call: Callable[[int, str], Call]
    passages: Callable[[Any], list[str]]


def _ekiben(bench: Bench, corpus: Path, port: int) -> tuple[Sequence[str | Path], dict[str, str]]:
    return (sys.executable, "-m", "clients", "serve", "--host", LOCALHOST, "--port", str(port), "--data", bench.folder / "data"), {}


def _haystack(bench: Bench, corpus: Path, port: int) -> tuple[Sequence[str | Path], dict[str, str]]:
    store = bench.folder / "haystack"
    ingested_by_peer(bench, "haystack", corpus, store)
    program = bench.python("haystack").with_name("hayhooks")
    return (program, "run", "--host", LOCALHOST, "--port", str(port), "--pipelines-dir", PROGRAMS / "haystack_pipelines"), {"PEER_STORE": str(store)}


def _txtai(bench: Bench, corpus: Path, port: int) -> tuple[Sequence[str | Path], dict[str, str]]:
    index = bench.folder / "txtai"
    ingested_by_peer(bench, "txtai", corpus, index)
    configuration = bench.folder / "txtai.yml"
    configuration.write_text(yaml.safe_dump({"path": str(index), "embeddings": {"path": str(bench.model), "content": True, "hybrid": True}}))
    command = (bench.python("txtai"), "-m", "uvicorn", "txtai.api:app", "--host", LOCALHOST, "--port", str(port))
    return command, {"CONFIG": str(configuration)}


SIDES = {
    "ekiben": Side(
        _ekiben,
        "/readyz",
        lambda port, question: Call(local(port, "/v1/search"), {"query": question, "top_k": TOP_K}),
        lambda answer: [passage["text"] for passage in answer["passages"]],
    ),
    "haystack": Side(
        _haystack,
        "/status",
        lambda port, question: Call(local(port, "/search/run"), {"question": question}),
        lambda answer: [passage["text"] for passage in answer["result"]],
    ),
    "txtai": Side(
        _txtai,
        "/openapi.json",
        lambda port, question: Call(local(port, "/search"), parameters={"query": question, "limit": str(TOP_K)}),
        lambda answer: [passage["text"] for passage in answer],
    ),
}


def main() -> None:
    """Print the table; write plot and JSON where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, help="a file of JSON objects with `text`, the paragraphs that are stored")
    parser.add_argument("--questions", type=Path, help="a file of JSON objects with `text`, the questions")
    parser.add_argument("--paragraphs", type=int, default=600)
    parser.add_argument("--sides", type=lambda text: text.split(","), default=list(SIDES))
    parser.add_argument("--clients", type=lambda text: [int(part) for part in text.split(",")], default=[1, 8, 32, 64])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=5)
    add_options(parser)
    arguments = parser.parse_args()
    texts, asked = paragraphs(arguments.texts, arguments.paragraphs), questions(arguments.questions)
    with tempfile.TemporaryDirectory() as name, bench(arguments, Path(name), with_clients=True) as here, ExitStack() as stack:
        corpus = write_corpus(here.folder / "corpus.jsonl", texts)
        calls, skipped = _started(here, stack, corpus, arguments.sides, asked)
        about = print_machine(here, {name: here.versions(name) for name in calls})
        print(f"{len(texts)} paragraphs stored, {len(asked)} questions")
        about["in_common"] = _in_common(calls)
        loads = _measured(calls, arguments)
    found = rows(loads, OURS)
    print_table(found)
    print_skipped(skipped)
    own = {"paragraphs": len(texts), "seconds": arguments.seconds, "rounds": arguments.rounds}
    write_json(arguments.json, {**about, **own}, found, skipped)
    plot(arguments.plot, found)


def _started(
    bench: Bench, stack: ExitStack, corpus: Path, names: Sequence[str], asked: Sequence[str]
) -> tuple[dict[str, Iterator[Call]], dict[str, str]]:
    """The sides that run, with the paragraphs stored, and why others don't. The first calls are those of `_in_common`."""
    calls: dict[str, Iterator[Call]] = {}
    skipped = {}
    for name in names:
        side, port = SIDES[name], free_port()
        try:
            command, environment = side.start(bench, corpus, port)
            stack.enter_context(bench.serving(name, command, local(port, side.ready), environment))
            if name == "ekiben":
                bench.run((sys.executable, "-m", "clients", "ingest", corpus, "--url", local(port)))
        except Skipped as reason:
            skipped[name] = str(reason)
            continue
        calls[name] = map(partial(side.call, port), chain(asked[:COMPARED], unending(asked[COMPARED:])))
    return calls, skipped


def _in_common(calls: dict[str, Iterator[Call]]) -> dict[str, float]:
    """The mean number of passages that a side's answer shares with the first side's."""
    found = {name: [set(SIDES[name].passages(ask(own))) for _ in range(COMPARED)] for name, own in calls.items()}
    first = next(iter(found.values()))
    shared = {name: statistics.mean(len(a & b) for a, b in zip(own, first, strict=True)) for name, own in found.items()}
    print(f"passages in common with {next(iter(found))}'s: " + ", ".join(f"{name} {count:.1f}" for name, count in shared.items()), flush=True)
    return shared


def _measured(calls: dict[str, Iterator[Call]], arguments: argparse.Namespace) -> list[Load]:
    for name, own in calls.items():
        measure(name, own, WARM_UP_CLIENTS, WARM_UP_S)
    loads = []
    for number in range(arguments.rounds):
        for clients in arguments.clients:
            loads += [measure(name, own, clients, arguments.seconds) for name, own in calls.items()]
        print(f"  round {number + 1} of {arguments.rounds}", flush=True)
    return loads


if __name__ == "__main__":
    main()
