"""The texts of the benchmarks: those of a file, or those of data/sample, as often as they are needed."""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.schemas import Document
from core.settings import settings
from pipelines.ingestion.loading import SUPPORTED_SUFFIXES, load_file

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample"
_SHORTEST_PARAGRAPH = 200
_SHORTEST_SENTENCE = 20


def paragraphs(file: Path | None, count: int) -> list[str]:
    """The first `count` different texts of a file of JSON objects with `text`; without it the paragraphs of data/sample, numbered so that no two are
    equal.
    """
    if file:
        return list(dict.fromkeys(_values(file, "text")))[:count]
    files = [path for path in sorted((SAMPLE / "documents").rglob("*")) if path.suffix in SUPPORTED_SUFFIXES]
    documents = [item for path in files for item in load_file(path, id=path.name, limits=settings().ingestion) if isinstance(item, Document)]
    parts = [" ".join(part.split()) for document in documents for part in re.split(r"\n\s*\n", document.text)]
    found = [part for part in parts if len(part) >= _SHORTEST_PARAGRAPH]
    return [f"Entry {number}. {found[number % len(found)]}" for number in range(count)]


def sentences(texts: Sequence[str]) -> list[str]:
    """The sentences of these texts, without the shortest ones."""
    parts = [part for text in texts for part in re.split(r"(?<=[.!?])\s+", text)]
    return list(dict.fromkeys(part for part in parts if len(part) >= _SHORTEST_SENTENCE))


def questions(file: Path | None) -> list[str]:
    """Those of a file of JSON objects with `text`, or of data/sample."""
    return list(dict.fromkeys(_values(file, "text") if file else _values(SAMPLE / "questions.jsonl", "question")))


def unending(texts: Sequence[str]) -> Iterator[str]:
    """These texts, then the same ones with a number, so that none comes twice and no cache answers."""
    yield from texts
    for time in itertools.count(2):
        for text in texts:
            yield f"{text} ({time})"


def _values(file: Path, key: str) -> list[str]:
    return [json.loads(line)[key] for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
