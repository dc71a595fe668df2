"""Sets and rows to evaluate."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.evaluation.report import AnswerRow, CitedSpan, Measured, Row, SetReport

CORPUS = [{"_id": "d1", "title": "Tunnel", "text": "The tunnel is 57 km long."}, {"id": "d2", "text": "The pass is closed in winter."}]
QUERIES = [
    {"_id": "q1", "text": "How long is the tunnel?", "answers": ["57 km"]},
    {"id": "q2", "text": "When is the pass closed?", "answers": ["winter"], "split": "test"},
    {"id": "q3", "text": "Who built the bridge?", "answerable": False},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t2\nq2\td1\t0\n"


def lines(records: Sequence[object]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def make_set(folder: Path, files: Mapping[str, str | bytes] | None = None) -> Path:
    """A set of two documents and three questions; `files` replace or add to its files, by name."""
    content: dict[str, str | bytes] = {"corpus.jsonl": lines(CORPUS), "queries.jsonl": lines(QUERIES), "qrels.tsv": QRELS, **(files or {})}
    for name, text in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def answered(confidence: float | None = 0.5, text: str = "It is 57 km long.", citations: tuple[CitedSpan, ...] = ()) -> AnswerRow:
    return AnswerRow(text=text, abstained=not text, confidence=confidence, citations=citations)


def row(id_: str, *, answerable: bool = True, confidence: float | None = None, **scores: float) -> Row:
    """A row; in the names of scores, _ stands for a blank and __ for @."""
    named = {name.replace("__", "@").replace("_", " "): value for name, value in scores.items()}
    answer = None if confidence is None else answered(confidence)
    return Row(id=id_, answerable=answerable, answer=answer, found={"hybrid": ()}, scores=named)


def report(rows: Sequence[Row], name: str = "set", digest: str = "0") -> SetReport:
    return SetReport(
        name=name,
        digest=digest,
        split=None,
        documents=2,
        documents_failed=0,
        measured=Measured(version="1", encoder=None, generator=None, settings=None),
        measures=(),
        latencies=(),
        coverage=(),
        risk=(),
        rows=tuple(rows),
    )
