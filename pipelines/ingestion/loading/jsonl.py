"""JSON Lines in the layout of BEIR: `_id` or `id`, `title`, `text`, `metadata`."""

import json
from collections.abc import Iterator
from typing import NoReturn

from pydantic import ValidationError

from core.errors import DocumentEmpty, DocumentError, DocumentUnreadable
from core.schemas import MAX_TITLE_CHARS, Document
from core.settings import IngestionSettings
from pipelines.ingestion.loading.source import Source, check_length
from pipelines.ingestion.normalizing import normalize
from pipelines.ingestion.refusing import Loaded, explain, refuse

_RESERVED = ("_id", "id", "title", "text", "metadata")


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """One document a line, named by its own id; a failed result named `file:line` for each line that is none.

    Scalar fields beside the known ones go to the metadata; other lists, objects and nulls there are left out.
    """
    loaded = list(_load_lines(source, limits))
    if not loaded:
        raise DocumentEmpty(f"{source}: holds only blank lines")
    return loaded


def _load_lines(source: Source, limits: IngestionSettings) -> Iterator[Loaded]:
    first_seen: dict[str, int] = {}
    for number, line in enumerate(source.content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            document = _read_line(line, source, limits)
            if (first := first_seen.setdefault(document.id, number)) != number:
                raise DocumentUnreadable(f"the id {document.id!r} is that of line {first} already; give each line its own")
            yield document
        except DocumentError as error:
            yield refuse(f"{source.id}:{number}", type(error)(f"{source}, line {number}: {error.message}"))


def _read_line(line: bytes, source: Source, limits: IngestionSettings) -> Document:
    fields = _parse(line)
    text = fields.get("text")
    if not isinstance(text, str):
        raise DocumentUnreadable('there is no string under "text"')
    check_length("text", len(text), limits)
    text = normalize(text)
    if not text.strip():
        raise DocumentEmpty('"text" is blank')
    try:
        return Document.model_validate(
            {"id": _id(fields), "title": _title(fields), "text": text, "metadata": _metadata(fields, source)},
        )
    except ValidationError as error:
        raise DocumentUnreadable(explain(error)) from error


def _parse(line: bytes) -> dict[str, object]:
    try:
        fields = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors, and so is a number of 5,000 digits
        raise DocumentUnreadable(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise DocumentUnreadable(f"a JSON object is expected, not {type(fields).__name__}")
    return fields


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _id(fields: dict[str, object]) -> object:
    given = fields.get("_id", fields.get("id"))
    # Some BEIR sets number their documents.
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _title(fields: dict[str, object]) -> object:
    title = fields.get("title") or ""
    return " ".join(normalize(title).split())[:MAX_TITLE_CHARS] if isinstance(title, str) else title


def _metadata(fields: dict[str, object], source: Source) -> dict[object, object]:
    given = fields.get("metadata") or {}
    if not isinstance(given, dict):
        raise DocumentUnreadable(f'"metadata" has to be an object, not {type(given).__name__}')
    beside = {key: value for key, value in fields.items() if key not in _RESERVED and isinstance(value, str | int | float)}
    return {"source": str(source), "format": "jsonl", **beside, **given}
