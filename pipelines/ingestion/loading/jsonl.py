"""JSON Lines: an object a line (see records.py)."""

from collections.abc import Iterator

from core.errors import DocumentEmpty, DocumentError, DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading.records import parse_json, read_record
from pipelines.ingestion.loading.source import Source
from pipelines.ingestion.refusing import Loaded, refuse


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """One document a line, named by its own id or else `file:line`; a failed result of that name for each line that is none."""
    loaded = list(_load_lines(source, limits))
    if not loaded:
        raise DocumentEmpty(f"{source}: holds only blank lines")
    return loaded


def _load_lines(source: Source, limits: IngestionSettings) -> Iterator[Loaded]:
    first_seen: dict[str, int] = {}
    for number, line in enumerate(source.content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        name = f"{source.id}:{number}"
        try:
            document = read_record(_parse(line), name, "jsonl", source, limits)
            if (first := first_seen.setdefault(document.id, number)) != number:
                raise DocumentUnreadable(f"the id {document.id!r} is that of line {first} already; give each line its own")
            yield document
        except DocumentError as error:
            yield refuse(name, type(error)(f"{source}, line {number}: {error.message}"))


def _parse(line: bytes) -> object:
    try:
        return parse_json(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DocumentUnreadable(f"not JSON: {error}") from error
