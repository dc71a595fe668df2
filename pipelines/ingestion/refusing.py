"""How one document is refused while the rest of its batch goes on."""

from pydantic import ValidationError

from core.errors import DocumentError, RequestError
from core.schemas import Document, DocumentResult

Loaded = Document | DocumentResult
"""A document, or the `failed` result that stands in its place. Both can be pickled."""

_MAX_FAULTS = 3
_MAX_FAULT_CHARS = 300
_METADATA_VALUE_DEPTH = 3


def refuse(document_id: str, error: DocumentError | RequestError) -> DocumentResult:
    """The result of a document that is refused with `error`."""
    return DocumentResult(id=document_id, state="failed", error=error.info())


def explain(error: ValidationError) -> str:
    """What is wrong with which field, for a person; at most three faults."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    by_field = dict(_describe(fault["loc"], fault["msg"]) for fault in faults)
    texts = [f"{field}: {message}" if field else message for field, message in by_field.items()]
    return "; ".join(text[:_MAX_FAULT_CHARS] for text in texts[:_MAX_FAULTS])


def _describe(location: tuple[int | str, ...], message: str) -> tuple[str, str]:
    match location:
        case ("metadata", key, "[key]"):
            return f"metadata key {key!r}", message
        case ("metadata", key, *_) if len(location) == _METADATA_VALUE_DEPTH:
            # pydantic reports one fault for each type that a value could have had.
            return f"metadata.{key}", "has to be a boolean, a finite number, or a string of at most 4000 characters"
    return ".".join(map(str, location)), message.removeprefix("Value error, ")
