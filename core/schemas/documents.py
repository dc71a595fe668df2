"""Documents and chunks: what is sent, what is stored and what is told of it."""

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from core.errors import ErrorInfo
from core.schemas.fields import (
    DEFAULT_COLLECTION,
    MAX_DOCUMENTS_PER_REQUEST,
    MAX_METADATA_KEYS,
    MAX_PAGE_SIZE,
    MAX_TITLE_CHARS,
    CollectionName,
    Frozen,
    Identifier,
    MetadataKey,
    Scalar,
)


class Heading(Frozen):
    """A section's heading: its line begins at `start`, `level` 1 is the highest, `text` is without markup."""

    start: Annotated[int, Field(ge=0)]
    level: Annotated[int, Field(ge=1, le=9)]
    text: Annotated[str, StringConstraints(max_length=MAX_TITLE_CHARS)]


class Block(Frozen):
    """Characters that are cut apart only where they are longer than a chunk."""

    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=0)]
    kind: Literal["table", "code"]


class Document(Frozen):
    """A text to be indexed, as its loader or its sender gives it.

    `page_starts` holds the offset at which each page begins, for formats that have pages; `headings` and `blocks` are in the order of the text.
    """

    id: Identifier
    title: Annotated[str, StringConstraints(max_length=MAX_TITLE_CHARS)] = ""
    text: str
    metadata: Annotated[dict[MetadataKey, Scalar], Field(max_length=MAX_METADATA_KEYS)] = {}
    page_starts: tuple[int, ...] = ()
    headings: tuple[Heading, ...] = ()
    blocks: tuple[Block, ...] = ()

    @model_validator(mode="after")
    def _text_is_unicode(self) -> Self:
        try:
            (self.title + self.text).encode()
        except UnicodeEncodeError as error:
            raise ValueError("text or title holds a lone surrogate, which is no Unicode character") from error
        if not self.text.strip():
            raise ValueError("text is empty")
        return self

    def hash_content(self) -> str:
        """SHA-256 over all that is stored of the document; equal hashes mean nothing to do."""
        structure = [[heading.model_dump() for heading in self.headings], [block.model_dump() for block in self.blocks]]
        content = json.dumps([self.title, self.text, self.metadata, self.page_starts, structure], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()


class StoredDocument(Document):
    """A document as the store returns it."""

    collection: str
    content_hash: str
    chunks: int
    added_at: str

    def as_sent(self) -> Document:
        """The document without what the store has added."""
        return Document.model_construct(**{name: getattr(self, name) for name in Document.model_fields})


class DocumentSummary(Frozen):
    """A row of the document list: everything but the text."""

    id: str
    collection: str
    title: str
    metadata: dict[str, Scalar]
    chars: int
    chunks: int
    content_hash: str
    added_at: str


class DocumentPage(Frozen):
    """One page of the document list; `next` is the cursor of the following one."""

    documents: tuple[DocumentSummary, ...]
    next: str | None = None


class Chunk(Frozen):
    """A span of a document that is embedded and indexed as one: `document.text[start:end] == text`.

    `headings` is the path of the section it begins in, highest first.
    """

    ordinal: int
    start: int
    end: int
    text: str
    page: int | None = None
    headings: tuple[str, ...] = ()


class SplitDocument(Frozen):
    """A document with its chunks, cut for the window of the encoder named by `encoder`."""

    collection: CollectionName = DEFAULT_COLLECTION
    document: Document
    chunks: tuple[Chunk, ...]
    encoder: str


class StageRequest(Frozen):
    """Passages of a document with too many chunks for one call: they are embedded and kept, so that `add` finds their vectors."""

    encoder: str
    texts: tuple[str, ...]


class StageResponse(Frozen):
    """How many of the passages had to be embedded; the others were staged already."""

    embedded: int


class FieldMap(Frozen):
    """Under which keys JSON documents keep their id, title and text; None takes the usual names."""

    id: str | None = None
    title: str | None = None
    text: str | None = None


class AddRequest(Frozen):
    """Body of `POST /v1/documents`. Each document is looked at on its own: a bad one fails alone."""

    documents: Annotated[list[object], Field(min_length=1, max_length=MAX_DOCUMENTS_PER_REQUEST)]
    collection: CollectionName = DEFAULT_COLLECTION


DocumentState = Literal["created", "updated", "unchanged", "failed"]


class DocumentResult(Frozen):
    """What became of one document of a batch."""

    id: str
    state: DocumentState
    chunks: int = 0
    error: ErrorInfo | None = None


class AddResponse(Frozen):
    """One result a document, in the order of the request."""

    documents: tuple[DocumentResult, ...]


class DocumentRef(Frozen):
    """Names one document."""

    id: Identifier
    collection: CollectionName = DEFAULT_COLLECTION


class DeleteResponse(Frozen):
    """Receipt of a deletion."""

    id: str
    collection: str
    deleted: bool = True
    chunks: int


class ListRequest(Frozen):
    """Which page of the document list."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE)] = 100
    cursor: str | None = None
    collection: CollectionName | None = None
