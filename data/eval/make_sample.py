"""Writes data/eval/sample, the set of the quality gate, from the questions of data/sample. Its documents stay where they are: set.json names them.

python data/eval/make_sample.py
"""

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "sample"
TARGET = HERE / "sample"


def main() -> None:
    """Write set.json, queries.jsonl and qrels.tsv."""
    questions = [json.loads(line) for line in (SOURCE / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    TARGET.mkdir(exist_ok=True)
    _write("set.json", json.dumps({"documents": ["../../sample/documents"]}))
    _write("queries.jsonl", "\n".join(json.dumps(_query(question), ensure_ascii=False) for question in questions))
    judgements = [f"{question['id']}\t{document}\t1" for question in questions for document in question["documents"]]
    _write("qrels.tsv", "\n".join(["query-id\tcorpus-id\tscore", *judgements]))


def _query(question: dict) -> dict:
    return {"_id": question["id"], "text": question["question"], "answers": question["answers"], "answerable": question["answerable"]}


def _write(name: str, text: str) -> None:
    (TARGET / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
