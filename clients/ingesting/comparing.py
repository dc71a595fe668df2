"""Which of the loaded documents have to be sent."""

from collections.abc import Iterable
from typing import NamedTuple, Self

from clients.ingesting.outcomes import Outcome
from core.errors import InvalidRequest
from core.schemas import Document, DocumentResult, DocumentSummary
from pipelines.ingestion.normalizing import normalize_document
from pipelines.ingestion.refusing import Loaded, refuse


class Entry(NamedTuple):
    """What has to be known of a stored document."""

    content_hash: str
    chunks: int


class Comparison:
    """Compares the documents of a run with what the collection held when it began."""

    def __init__(self, stored: dict[str, Entry]) -> None:
        self.stored = stored
        self._seen: set[str] = set()

    @classmethod
    def with_stored(cls, rows: Iterable[DocumentSummary]) -> Self:
        """A comparison with the documents of a list."""
        return cls({row.id: Entry(row.content_hash, row.chunks) for row in rows})

    def judge(self, loaded: Loaded) -> Document | Outcome:
        """The document, normalized, where it has to be sent; else what is known of it already.

        The second document with an id fails: which of the two is meant is for the owner to say, and several batches are in flight at once.
        """
        if isinstance(loaded, DocumentResult):
            return Outcome.of(loaded)
        if loaded.id in self._seen:
            reason = InvalidRequest(f"id: {loaded.id!r} occurs twice in these files; give each document an id of its own")
            return Outcome.of(refuse(loaded.id, reason))
        self._seen.add(loaded.id)
        document = normalize_document(loaded)
        entry = self.stored.get(document.id)
        if entry and entry.content_hash == document.hash_content():
            return Outcome(id=document.id, state="unchanged", chunks=entry.chunks)
        return document

    def expect(self, document: Document) -> DocumentResult:
        """What sending `document` would come to."""
        return DocumentResult(id=document.id, state="updated" if document.id in self.stored else "created")
