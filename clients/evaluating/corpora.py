"""A set's documents as files that `ekiben ingest` takes."""

import json
from collections.abc import Iterator
from pathlib import Path

from pipelines.evaluation.question_sets import QuestionSet, read_lines, record_id

SCOPE_KEY = "scope"
"""The metadata key by which a question's scope is filtered."""
_PART_BYTES = 16 * 1024 * 1024
"""Bytes of a part, far below what `ingestion.max_file_bytes` allows by default."""


def paths_to_ingest(of: QuestionSet, folder: Path) -> list[str]:
    """Folders of documents as the set names them; else corpus.jsonl, written to parts in `folder` with the scope of each document beside it."""
    if of.corpus is None:
        return [str(path) for path in of.documents]
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.jsonl"):
        old.unlink()
    for number, part in enumerate(_parts(of, of.corpus)):
        (folder / f"corpus-{number:05}.jsonl").write_bytes(part)
    return [str(folder)]


def _parts(of: QuestionSet, corpus: Path) -> Iterator[bytes]:
    part = bytearray()
    for _, record in read_lines(corpus):
        line = _line(record, of.scopes)
        if part and len(part) + len(line) > _PART_BYTES:
            yield bytes(part)
            part.clear()
        part += line
    yield bytes(part)


def _line(record: dict[str, object], scopes: frozenset[str]) -> bytes:
    id_ = str(record_id(record))
    scope = next((scope for scope in scopes if id_.startswith(scope)), None)
    document = {"_id": id_, "title": record.get("title") or "", "text": record["text"], **({SCOPE_KEY: scope} if scope else {})}
    return (json.dumps(document) + "\n").encode()
