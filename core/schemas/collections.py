"""Collections: named sets of documents with settings of their own."""

from typing import Annotated

from pydantic import Field, StringConstraints

from core.schemas.fields import CollectionName, Frozen


class CollectionSettings(Frozen):
    """What a collection may set for itself; None takes the value of the server's `ingestion` settings.

    The sizes hold for all documents of a collection, so they can change only while it is empty.
    """

    description: Annotated[str, StringConstraints(max_length=1_000)] = ""
    chunk_tokens: Annotated[int, Field(strict=True, ge=16)] | None = None
    overlap_tokens: Annotated[int, Field(strict=True, ge=0)] | None = None


class Collection(Frozen):
    """A collection and how much it holds."""

    name: str
    settings: CollectionSettings
    documents: int
    chunks: int
    created_at: str


class CollectionList(Frozen):
    """All collections, by name."""

    collections: tuple[Collection, ...]


class CollectionRef(Frozen):
    """Names one collection."""

    name: CollectionName


class CollectionChange(Frozen):
    """A collection to create, or the settings it is to have from now on."""

    name: CollectionName
    settings: CollectionSettings


class CollectionDeleted(Frozen):
    """Receipt of the deletion of a collection with all its documents."""

    name: str
    documents: int
    chunks: int
