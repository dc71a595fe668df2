"""How fast are paragraphs stored and searchable, against txtai, Haystack and LlamaIndex in the way their documentation shows?

    .venv/bin/python benchmarks/ingesting_peers.py [--texts CORPUS.jsonl] [--paragraphs 2067] [--rounds 3] [--json FILE] [--plot FILE.svg]
    .venv/bin/python benchmarks/ingesting_peers.py --paragraphs 200 --rounds 1 --sides ekiben,haystack

All sides read one file of a JSON object a line, embed with the same model on the same cores, and leave the index on the disk. Ekiben is `ekiben
ingest FILE` into a new collection of the running services, from the start of the command to its end. The others are programs of a few lines
(benchmarks/peer_programs), timed from the file to the saved index, without their start and the loading of the model. Each cuts long paragraphs in
its own way: Ekiben at 256 tokens and Haystack at 200 words; txtai doesn't cut, and LlamaIndex at 1,024 tokens, so that the model leaves out what is
beyond its window of 256. Sides take turns. CORPUS holds a JSON object with `text` a line; without it the paragraphs of data/sample are taken,
numbered.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from closed_loop import print_skipped, write_json
from peers import PROBE, PROGRAMS, Bench, Skipped, add_options, bench, check_vectors, local, print_machine
from texts import paragraphs

from clients.http_client import EkibenClient
from clients.local_server import LOCALHOST, free_port

PEERS = ("txtai", "haystack", "llamaindex")

Run = dict[str, Any]
Repetition = Callable[[int], Run]  # by its number


def main() -> None:
    """Print the table; write plot and JSON where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--paragraphs", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", type=lambda text: text.split(","), default=["ekiben", *PEERS])
    add_options(parser)
    arguments = parser.parse_args()
    texts = paragraphs(arguments.texts, arguments.paragraphs)
    with tempfile.TemporaryDirectory() as name, bench(arguments, Path(name), with_clients=False) as here, ExitStack() as stack:
        corpus = write_corpus(here.folder / "corpus.jsonl", texts)
        sides, versions, skipped = _sides(here, stack, corpus, arguments.sides)
        about = print_machine(here, versions)
        characters = statistics.mean(map(len, texts))
        print(f"{len(texts)} paragraphs of {characters:.0f} characters; paragraphs/s", flush=True)
        runs = _measured(sides, arguments.rounds, len(texts))
        check_vectors({side: own[0]["vector"] for side, own in runs.items() if "vector" in own[0]})
        found = _rows(runs, len(texts))
        _print_table(found)
        print_skipped(skipped)
        write_json(arguments.json, {**about, "paragraphs": len(texts), "characters": characters, "rounds": arguments.rounds}, found, skipped)
        _plot(arguments.plot, found)


def write_corpus(file: Path, texts: Sequence[str]) -> Path:
    """The file that all sides read."""
    file.write_text("".join(json.dumps({"id": f"{number:06}", "text": text}) + "\n" for number, text in enumerate(texts)), encoding="utf-8")
    return file


def ingested_by_peer(bench: Bench, peer: str, corpus: Path, folder: Path) -> Run:
    """What a peer's program says: `seconds`, `chunks` and the `vector` of PROBE. Its index is then in `folder`."""
    program = PROGRAMS / f"{peer}_ingest.py"
    return dict(json.loads(bench.run((bench.python(peer), program, bench.model, corpus, folder, PROBE)).splitlines()[-1]))


def _sides(
    bench: Bench, stack: ExitStack, corpus: Path, names: Sequence[str]
) -> tuple[dict[str, Callable[[int], Run]], dict[str, str], dict[str, str]]:
    """What runs a side's repetition by its number, versions, and what is left out."""
    sides: dict[str, Callable[[int], Run]] = {}
    versions: dict[str, str] = {}
    skipped = {}
    for name in names:
        try:
            versions[name] = bench.versions(name)
            sides[name] = _ekiben(bench, stack, corpus) if name == "ekiben" else _peer(bench, name, corpus)
        except Skipped as reason:
            versions.pop(name, None)
            skipped[name] = str(reason)
    return sides, versions, skipped


def _peer(bench: Bench, name: str, corpus: Path) -> Repetition:
    # Once with a few texts: whether it runs, and so that its code is compiled and in memory.
    few = bench.folder / "few.jsonl"
    few.write_text("".join(corpus.read_text(encoding="utf-8").splitlines(keepends=True)[:8]), encoding="utf-8")
    ingested_by_peer(bench, name, few, bench.folder / f"{name}-few")
    return lambda number: ingested_by_peer(bench, name, corpus, bench.folder / f"{name}-{number}")


def _ekiben(bench: Bench, stack: ExitStack, corpus: Path) -> Repetition:
    port = free_port()
    command = (sys.executable, "-m", "clients", "serve", "--host", LOCALHOST, "--port", str(port), "--data", bench.folder / "data")
    stack.enter_context(bench.serving("ekiben", command, local(port, "/readyz")))

    def run(number: int) -> Run:
        collection = f"run-{number}"
        started = time.perf_counter()
        done = json.loads(bench.run((sys.executable, "-m", "clients", "ingest", corpus, "--url", local(port), "--collection", collection, "--json")))
        seconds = time.perf_counter() - started
        if set(done["counts"]) != {"created"}:
            raise SystemExit(f"not all paragraphs are stored: {done['counts']}")
        with EkibenClient(local(port)) as client:
            client.delete_collection(collection)
            client.compact()
        body = {"model": "ekiben", "input": PROBE}
        vector = httpx.post(local(port, "/v1/embeddings"), json=body, timeout=60).json()["data"][0]["embedding"]
        return {"seconds": seconds, "chunks": sum(document["chunks"] for document in done["documents"]), "vector": vector}

    return run


def _measured(sides: dict[str, Repetition], rounds: int, count: int) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, run in sides.items():
            runs[name].append(run(number))
        told = "  ".join(f"{name} {count / own[-1]['seconds']:.1f}" for name, own in runs.items())
        print(f"  {number + 1}: {told}", flush=True)
    return runs


def _rows(runs: dict[str, list[Run]], count: int) -> list[dict[str, Any]]:
    rates = {name: [count / run["seconds"] for run in own] for name, own in runs.items()}
    peers = [name for name in rates if name != "ekiben"]
    best = max(peers, key=lambda name: statistics.median(rates[name]), default=None)
    return [
        {
            "side": name,
            "per_s": statistics.median(own),
            "least_per_s": min(own),
            "most_per_s": max(own),
            "x": statistics.median(a / b for a, b in zip(own, rates[best], strict=True)) if best else None,
            "chunks": runs[name][0]["chunks"],
        }
        for name, own in rates.items()
    ]


def _print_table(found: Sequence[dict[str, Any]]) -> None:
    print("\n| side | paragraphs/s | least to most | x the best peer | chunks |")
    print("| --- | --- | --- | --- | --- |")
    for row in found:
        ratio = f"{row['x']:.2f}" if row["x"] else ""
        print(f"| {row['side']} | {row['per_s']:.1f} | {row['least_per_s']:.1f} to {row['most_per_s']:.1f} | {ratio} | {row['chunks']} |")


def _plot(path: Path | None, found: Sequence[dict[str, Any]]) -> None:
    if not path:
        return
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "ekiben"
    figure = Figure(figsize=(6, 0.8 + 0.4 * len(found)), layout="constrained")
    axes = figure.subplots()
    axes.barh(
        [row["side"] for row in found], [row["per_s"] for row in found], color=["#2f6f8f" if row["side"] == "ekiben" else "#b0603a" for row in found]
    )
    axes.invert_yaxis()
    axes.set_title("paragraphs stored a second", fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
