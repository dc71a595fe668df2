"""How many questions a second does a server answer, with passages or with their summaries, and how long does one take?

    .venv/bin/python benchmarks/answering_peers.py [--texts CORPUS.jsonl --questions QUERIES.jsonl --paragraphs 2067] [--json FILE] [--plot FILE]
    .venv/bin/python benchmarks/answering_peers.py --paragraphs 200 --sides ekiben,txtai --clients 1,32 --seconds 2 --rounds 2
    .venv/bin/python benchmarks/answering_peers.py --endpoint answer --clients 1,8 --seconds 20 --rounds 3

Each side has stored the same paragraphs and gives the ten best for a question, by words and by meaning: `ekiben`, POST /v1/search of the four
services; `haystack`, BM25 and vectors of its in-memory store, joined by reciprocal rank fusion, behind hayhooks; `txtai`, its API server over a
hybrid index with content. First all are asked the same questions: how many of their documents each has in common with Ekiben's. With `--endpoint
answer` the eight best passages are summarized, 32 tokens each, by one model of random weights (benchmarks/random_models.py, t5-small): Ekiben's
POST /v1/answer with the backend seq2seq, a component of Haystack around `generate`, and txtai's Summary pipeline in a workflow, the last two with
the passages of a question in one batch. All run at the same time and one is asked at a time, in turns. Each load is so many clients, each of whom
asks its next question when it has its answer; no question comes twice.
"""

import argparse
import os
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
ENDPOINTS = ("search", "answer")
TOP_K = 10
# As the peers' programs have them.
SUMMARIES = 8
NEW_TOKENS = 32
GENERATOR = "t5-small"
PATIENCE_S = 600.0
COMPARED = 10
WARM_UP_S = 2.0
WARM_UP_CLIENTS = 8


@dataclass(frozen=True)
class Side:
    """How a side is started over the corpus, and asked: `start` returns command and environment, the others are by endpoint. `found` are the
    documents of an answer's passages, or its summaries.
    """

    start: Callable[[Bench, Path, int], tuple[Sequence[str | Path], dict[str, str]]]
    ready: str
    call: dict[str, Callable[[int, str], Call]]
    found: dict[str, Callable[[Any], list[str]]]


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
    parts: dict[str, Any] = {"path": str(index), "embeddings": {"path": str(bench.model), "content": True, "hybrid": True}}
    if "PEER_GENERATOR" in os.environ:
        name = "txtai_answering.Answering"
        parts |= {name: {"application": None}, "workflow": {"answer": {"tasks": [{"action": name, "onetomany": False}]}}}
    configuration.write_text(yaml.safe_dump(parts))
    command = (bench.python("txtai"), "-m", "uvicorn", "txtai.api:app", "--host", LOCALHOST, "--port", str(port))
    return command, {"CONFIG": str(configuration), "PYTHONPATH": str(PROGRAMS)}


SIDES = {
    "ekiben": Side(
        _ekiben,
        "/readyz",
        {
            "search": lambda port, question: Call(local(port, "/v1/search"), {"query": question, "top_k": TOP_K}),
            "answer": lambda port, question: Call(local(port, "/v1/answer"), {"question": question, "top_k": SUMMARIES}),
        },
        {
            "search": lambda answer: [passage["document_id"] for passage in answer["passages"]],
            "answer": lambda answer: [summary["text"] for summary in answer["summaries"] if not summary.get("error")],
        },
    ),
    "haystack": Side(
        _haystack,
        "/status",
        dict.fromkeys(ENDPOINTS, lambda port, question: Call(local(port, "/question/run"), {"question": question})),
        {
            "search": lambda answer: [passage["source"] for passage in answer["result"]],
            "answer": lambda answer: [one["summary"] for one in answer["result"]],
        },
    ),
    "txtai": Side(
        _txtai,
        "/openapi.json",
        {
            "search": lambda port, question: Call(local(port, "/search"), parameters={"query": question, "limit": str(TOP_K)}),
            "answer": lambda port, question: Call(local(port, "/workflow"), {"name": "answer", "elements": [question]}),
        },
        {"search": lambda answer: [passage["id"] for passage in answer], "answer": lambda answer: answer[0]},
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
    parser.add_argument("--endpoint", choices=ENDPOINTS, default="search")
    arguments = parser.parse_args()
    texts, asked = paragraphs(arguments.texts, arguments.paragraphs), questions(arguments.questions)
    with tempfile.TemporaryDirectory() as name, bench(arguments, Path(name), with_clients=True) as here, ExitStack() as stack:
        corpus = write_corpus(here.folder / "corpus.jsonl", texts)
        if arguments.endpoint == "answer":
            _name_generator(here.folder / "generator", texts)
        calls, skipped = _started(here, stack, corpus, arguments, asked)
        about = print_machine(here, {name: here.versions(name) for name in calls})
        print(f"{len(texts)} paragraphs stored, {len(asked)} questions")
        if arguments.endpoint == "search":
            about["in_common"] = _in_common(calls)
        else:
            _check_summaries(calls)
        loads = _measured(calls, arguments)
        found = rows(loads, OURS)
        print_table(found)
        print_skipped(skipped)
        own = {"endpoint": arguments.endpoint, "paragraphs": len(texts), "seconds": arguments.seconds, "rounds": arguments.rounds}
        write_json(arguments.json, {**about, **own}, found, skipped)
        plot(arguments.plot, found)


def _name_generator(folder: Path, texts: Sequence[str]) -> None:
    """A model of random weights that knows the words of `texts`, named to all sides. Nobody gives a question up."""
    import torch
    from random_models import save

    save(GENERATOR, folder, torch.float32, texts)
    os.environ["PEER_GENERATOR"] = os.environ["EKIBEN_GENERATOR__MODEL"] = str(folder)
    os.environ |= {"EKIBEN_GENERATOR__BACKEND": "seq2seq", "EKIBEN_GENERATOR__MAX_NEW_TOKENS": str(NEW_TOKENS)}
    os.environ |= {f"EKIBEN_ANSWERING__{key}_TIMEOUT_S": str(PATIENCE_S) for key in ("SUMMARY", "COMPOSE", "ANSWER")}
    os.environ |= {f"EKIBEN_{key}__TIMEOUT_S": str(2 * PATIENCE_S) for key in ("GENERATOR", "GATEWAY")}


def _started(
    bench: Bench, stack: ExitStack, corpus: Path, arguments: argparse.Namespace, asked: Sequence[str]
) -> tuple[dict[str, Iterator[Call]], dict[str, str]]:
    """The sides that run, with the paragraphs stored, and why others don't. The first calls are to compare."""
    calls: dict[str, Iterator[Call]] = {}
    skipped = {}
    for name in arguments.sides:
        side, port = SIDES[name], free_port()
        try:
            command, environment = side.start(bench, corpus, port)
            stack.enter_context(bench.serving(name, command, local(port, side.ready), environment))
            if name == "ekiben":
                bench.run((sys.executable, "-m", "clients", "ingest", corpus, "--url", local(port)))
        except Skipped as reason:
            skipped[name] = str(reason)
            continue
        calls[name] = map(partial(side.call[arguments.endpoint], port), chain(asked[:COMPARED], unending(asked[COMPARED:])))
    return calls, skipped


def _in_common(calls: dict[str, Iterator[Call]]) -> dict[str, float]:
    """The mean number of documents that a side's answer shares with the first side's."""
    found = {name: [set(SIDES[name].found["search"](ask(own))) for _ in range(COMPARED)] for name, own in calls.items()}
    first = next(iter(found.values()))
    shared = {name: statistics.mean(len(a & b) for a, b in zip(own, first, strict=True)) for name, own in found.items()}
    print(f"documents in common with {next(iter(found))}'s: " + ", ".join(f"{name} {count:.1f}" for name, count in shared.items()), flush=True)
    return shared


def _check_summaries(calls: dict[str, Iterator[Call]]) -> None:
    """That each side answers a question with as many summaries. What Ekiben reads of random words may be nothing."""
    for name, own in calls.items():
        if (count := len(SIDES[name].found["answer"](answer := ask(own)))) != SUMMARIES:
            raise SystemExit(f"{name} answers with {count} summaries instead of {SUMMARIES}: {str(answer)[:500]}")


def _measured(calls: dict[str, Iterator[Call]], arguments: argparse.Namespace) -> list[Load]:
    if arguments.endpoint == "search":
        for name, own in calls.items():
            measure(name, own, WARM_UP_CLIENTS, WARM_UP_S)
    loads = []
    for number in range(arguments.rounds):
        for clients in arguments.clients:
            for name, own in calls.items():
                loads.append(measure(name, own, clients, arguments.seconds))
                print(f"  {clients} clients, {name}: {loads[-1].per_s:.2f}/s", file=sys.stderr, flush=True)
        print(f"  round {number + 1} of {arguments.rounds}", flush=True)
    return loads


if __name__ == "__main__":
    main()
