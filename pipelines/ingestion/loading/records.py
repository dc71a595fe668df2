"""JSON objects to documents. The usual keys are those of BEIR: `_id` or `id`, `title`, `text`, `metadata`."""

import json
from collections.abc import Mapping
from typing import NoReturn

from pydantic import ValidationError

from core.errors import DocumentEmpty, DocumentUnreadable
from core.schemas import MAX_TITLE_CHARS, Document
from core.settings import IngestionSettings
from pipelines.ingestion.loading.source import Source, check_length
from pipelines.ingestion.normalizing import normalize
from pipelines.ingestion.refusing import explain

_RESERVED = ("_id", "id", "title", "text", "metadata")


def parse_json(content: bytes | str) -> object:
    """The value that `content` (UTF-8, or UTF-16 or 32 where it looks like it) holds. Raises DocumentUnreadable."""
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors, and so is a number of 5,000 digits
        raise DocumentUnreadable(f"not JSON: {error}") from error


def has_text(record: object, source: Source) -> bool:
    """Whether `record` is an object with a string where its text is looked for."""
    return isinstance(record, dict) and isinstance(_at(record, _text_path(source)), str)


def read_record(record: object, fallback_id: str, format_name: str, source: Source, limits: IngestionSettings) -> Document:
    """The document that an object describes, `fallback_id` its id where it has none.

    `source.fields` names the keys of id, title and text; a dot leads into an object, unless the whole name is a key. Scalar fields beside
    the known ones go to the metadata; other lists, objects and nulls there are left out. Raises DocumentUnreadable, DocumentEmpty or
    DocumentTooLarge.
    """
    if not isinstance(record, dict):
        raise DocumentUnreadable(f"a JSON object is expected, not {type(record).__name__}")
    text = _text(record, source, limits)
    id_ = _id(record, source)
    fields = {
        "id": fallback_id if id_ is None else id_,
        "title": _title(record, source),
        "text": text,
        "metadata": _metadata(record, format_name, source),
    }
    try:
        return Document.model_validate(fields)
    except ValidationError as error:
        raise DocumentUnreadable(explain(error)) from error


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _at(record: Mapping[str, object], path: str) -> object:
    if path in record:
        return record[path]
    key, _, rest = path.partition(".")
    inner = record.get(key)
    return _at(inner, rest) if rest and isinstance(inner, dict) else None


def _text_path(source: Source) -> str:
    return source.fields.text or "text"


def _text(record: Mapping[str, object], source: Source, limits: IngestionSettings) -> str:
    path = _text_path(source)
    text = _at(record, path)
    if not isinstance(text, str):
        raise DocumentUnreadable(f'there is no string under "{path}"; name the key that holds the text (fields: text)')
    check_length(path, len(text), limits)
    text = normalize(text)
    if not text.strip():
        raise DocumentEmpty(f'"{path}" is blank')
    return text


def _id(record: Mapping[str, object], source: Source) -> object:
    given = _at(record, source.fields.id) if source.fields.id else record.get("_id", record.get("id"))
    # Some BEIR sets number their documents.
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _title(record: Mapping[str, object], source: Source) -> object:
    title = _at(record, source.fields.title or "title") or ""
    return " ".join(normalize(title).split())[:MAX_TITLE_CHARS] if isinstance(title, str) else title


def _metadata(record: Mapping[str, object], format_name: str, source: Source) -> dict[object, object]:
    given = record.get("metadata") or {}
    if not isinstance(given, dict):
        raise DocumentUnreadable(f'"metadata" has to be an object, not {type(given).__name__}')
    known = {*_RESERVED, source.fields.id, source.fields.title, source.fields.text}
    beside = {key: value for key, value in record.items() if key not in known and isinstance(value, str | int | float)}
    return {"source": str(source), "format": format_name, **beside, **given}
