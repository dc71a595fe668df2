"""JSON files: one object, or a list of them (see records.py)."""

from collections.abc import Iterator

from core.errors import DocumentEmpty, DocumentError, DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading.records import has_text, parse_json, read_record
from pipelines.ingestion.loading.source import Source
from pipelines.ingestion.refusing import Loaded, refuse

LIST_KEYS = ("documents", "data", "records", "items", "rows")
"""Where an object may hold the list of documents: the first of them that holds a list."""


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """One document an object, named by its own id, or else `file#n`, counted from 1; a failed result of that name for each that is none.

    The file is a list of objects, an object with such a list under one of LIST_KEYS and no text of its own, or one document, which goes by
    the file's id where it has none.
    """
    try:
        content = parse_json(source.content)
    except DocumentError as error:
        raise DocumentUnreadable(f"{source}: {error.message}") from error
    records = None if has_text(content, source) else _records(content)
    if records is None:
        return [_load_one(content, source, limits)]
    if not records:
        raise DocumentEmpty(f"{source}: holds an empty list")
    return list(_load_each(records, source, limits))


def _records(content: object) -> list[object] | None:
    if isinstance(content, list):
        return content
    lists = [content[key] for key in LIST_KEYS if isinstance(content.get(key), list)] if isinstance(content, dict) else []
    return lists[0] if lists else None


def _load_one(content: object, source: Source, limits: IngestionSettings) -> Loaded:
    try:
        return read_record(content, source.id, "json", source, limits)
    except DocumentError as error:
        raise type(error)(f"{source}: {error.message}") from error


def _load_each(records: list[object], source: Source, limits: IngestionSettings) -> Iterator[Loaded]:
    first_seen: dict[str, int] = {}
    for number, record in enumerate(records, start=1):
        name = f"{source.id}#{number}"
        try:
            document = read_record(record, name, "json", source, limits)
            if (first := first_seen.setdefault(document.id, number)) != number:
                raise DocumentUnreadable(f"the id {document.id!r} is that of number {first} already; give each its own")
            yield document
        except DocumentError as error:
            yield refuse(name, type(error)(f"{source}, number {number}: {error.message}"))
