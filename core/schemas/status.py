"""What the services say of themselves, and the receipts of maintenance."""

from typing import Literal

from core.errors import ErrorInfo
from core.schemas.embedding import EncoderSummary
from core.schemas.fields import Frozen
from core.schemas.generation import GeneratorInfo
from core.schemas.reranking import RerankerInfo


class ReindexStatus(Frozen):
    """How far the change to another encoder is. `target` is its fingerprint."""

    state: Literal["running", "failed"]
    target: str
    documents_done: int
    documents_total: int
    error: ErrorInfo | None = None


class Compaction(Frozen):
    """Receipt of a compaction: the size of the store's files before and after, and the deleted vectors that left the vector index."""

    bytes_before: int
    bytes_after: int
    vectors_dropped: int


class StoreStatus(Frozen):
    """What the store holds and whether it can answer. `problem` is the reason where it can't.

    `bytes_on_disk` is the size of the database, `bytes_free` the part of it that deleted documents have left.
    """

    documents: int
    chunks: int
    collections: dict[str, int]
    index_version: int
    bytes_on_disk: int = 0
    bytes_free: int = 0
    reindex: ReindexStatus | None = None
    encoder: EncoderSummary | None = None
    reranker: RerankerInfo | None = None
    problem: ErrorInfo | None = None


class ServiceStatus(Frozen):
    """Body of `GET /v1/status`."""

    version: str
    ready: bool
    store: StoreStatus | None
    generator: GeneratorInfo | None
    problems: tuple[ErrorInfo, ...] = ()
