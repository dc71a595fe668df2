"""Share of questions whose paragraph is among the first k passages, by mode, through a running gateway.

    .venv/bin/ekiben ingest DIR/corpus.jsonl
    .venv/bin/python benchmarks/retrieval_hits.py DIR [--url URL] [--questions N] [--k 5]

DIR holds a question set in BEIR layout: corpus.jsonl, queries.jsonl and qrels.tsv.
"""

import argparse
import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

from clients.http_client import DEFAULT_URL, EkibenClient
from core.schemas import MAX_QUESTION_CHARS, Mode, SearchRequest

CLIENTS = 8


def main() -> None:
    """Print one line a mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--url", default=DEFAULT_URL)
    parser.add_argument("--questions", type=int, default=None)
    parser.add_argument("--k", type=int, default=5)
    arguments = parser.parse_args()
    questions = _questions(arguments.set)[: arguments.questions]
    relevant = _relevant(arguments.set)
    with EkibenClient(arguments.url) as client, ThreadPoolExecutor(CLIENTS) as pool:
        for mode in get_args(Mode):
            hits = pool.map(lambda one, mode=mode: _is_hit(client, one, relevant, mode, arguments.k), questions)
            share = sum(hits) / len(questions)
            print(f"{mode:8} hit@{arguments.k} {share:.4f} over {len(questions)} questions", flush=True)


def _questions(folder: Path) -> list[tuple[str, str]]:
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["id"], row["text"]) for row in map(json.loads, lines)]


def _relevant(folder: Path) -> dict[str, set[str]]:
    relevant: dict[str, set[str]] = {}
    with (folder / "qrels.tsv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            relevant.setdefault(row["query-id"], set()).add(row["corpus-id"])
    return relevant


def _is_hit(client: EkibenClient, question: tuple[str, str], relevant: dict[str, set[str]], mode: Mode, k: int) -> bool:
    identifier, text = question
    response = client.search(SearchRequest(query=text[:MAX_QUESTION_CHARS], mode=mode, top_k=k))
    return any(passage.document_id in relevant.get(identifier, set()) for passage in response.passages)


if __name__ == "__main__":
    main()
