"""Write a question set without every second article of another: `python data/eval/withhold.py SET OUT`.

Questions about the articles that are left out become unanswerable, because nothing is stored about them. An article is all documents of a title.
`ekiben calibrate --about` fits on such sets, `ekiben eval` measures on them.
"""

import csv
import json
import sys
from pathlib import Path


def main() -> None:
    """Write corpus.jsonl, queries.jsonl and qrels.tsv to OUT."""
    source, target = map(Path, sys.argv[1:])
    target.mkdir(parents=True, exist_ok=True)
    documents = _read(source / "corpus.jsonl")
    titles = sorted({document.get("title") or document["id"] for document in documents})
    kept = {document["id"] for document in documents if (document.get("title") or document["id"]) in set(titles[::2])}
    with (source / "qrels.tsv").open(encoding="utf-8", newline="") as stream:
        judgements = list(csv.DictReader(stream, delimiter="\t"))
    with_source = {row["query-id"] for row in judgements if row["corpus-id"] in kept}
    questions = [{**row, "answerable": row["id"] in with_source} for row in _read(source / "queries.jsonl") if row.get("answerable", True)]
    asked = {row["id"] for row in questions}
    _write(target / "corpus.jsonl", [document for document in documents if document["id"] in kept])
    _write(target / "queries.jsonl", questions)
    with (target / "qrels.tsv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(("query-id", "corpus-id", "score"))
        writer.writerows(tuple(row.values()) for row in judgements if row["corpus-id"] in kept and row["query-id"] in asked)


def _read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
