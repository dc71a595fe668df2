"""What one store lacks of another."""

from collections.abc import Iterator
from typing import NamedTuple

from core.schemas import DocumentRef
from services.retriever.store import DocumentStore


class Differences(NamedTuple):
    """Documents that the second store lacks or has with another content, and those that only it has."""

    missing: tuple[DocumentRef, ...]
    surplus: tuple[DocumentRef, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.surplus)


def differences(store: DocumentStore, other: DocumentStore) -> Differences:
    """What has to be done for `other` to hold the documents of `store`."""
    wanted, held = dict(_hashes(store)), dict(_hashes(other))
    return Differences(
        missing=tuple(ref for ref, content_hash in wanted.items() if held.get(ref) != content_hash),
        surplus=tuple(ref for ref in held if ref not in wanted),
    )


def _hashes(store: DocumentStore) -> Iterator[tuple[DocumentRef, str]]:
    with store.reading() as connection:
        for collection, id_, content_hash in connection.execute("SELECT collection, id, content_hash FROM documents ORDER BY collection, id"):
            yield DocumentRef.model_construct(collection=collection, id=id_), content_hash
