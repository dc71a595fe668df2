"""Storage and search behind the Retriever: the store, and the vector index that is derived from it."""

import threading
from contextlib import ExitStack
from typing import Self

import numpy as np

from core.errors import EncoderChanged, IndexMismatch, Internal, InvalidRequest, NotReady
from core.schemas import (
    DeleteResponse,
    DocumentPage,
    DocumentRef,
    DocumentResult,
    EncoderInfo,
    ListRequest,
    SearchRequest,
    SearchResponse,
    SplitDocument,
    StoredDocument,
    StoreStatus,
)
from core.settings import RetrieverSettings
from core.vectors import Vector
from services.retriever.passages import stored_vectors
from services.retriever.search import Search
from services.retriever.store import DocumentStore, index_version
from services.retriever.vector_index import VectorIndex


class RetrievalEngine:
    """Keeps documents and finds passages. Thread-safe, and every method blocks: searches run side by side, and beside one change at a time.

    A change is committed by the store first and then made in the vector index. A process that dies between the two loses nothing, because
    the index is built from the store at every start.
    """

    def __init__(self, store: DocumentStore, settings: RetrieverSettings) -> None:
        self._store = store
        self._settings = settings
        # Over both steps of a change, so that two changes of a document reach the vector index in the order of their commits.
        self._changing = threading.Lock()
        self._encoder: EncoderInfo | None = None
        self._index = _load_index(store)

    @classmethod
    def open(cls, settings: RetrieverSettings) -> Self:
        """Open the store in `settings.data_dir` and build the vector index from it (about a second for 100,000 chunks).

        Raises StoreLocked, InvalidSettings and StoreCorrupt as `Database.open` does.
        """
        store = DocumentStore.open(settings.data_dir)
        with ExitStack() as undo:
            undo.callback(store.close)
            engine = cls(store, settings)
            undo.pop_all()
        return engine

    def close(self) -> None:
        """Wait for a running change, close the store and release its lock."""
        with self._changing:
            self._store.close()

    def bind_encoder(self, encoder: EncoderInfo) -> None:
        """Take vectors of `encoder` from now on; raises IndexMismatch where the store holds those of another one."""
        with self._changing:
            self._store.bind_encoder(encoder)
            if self._index is None or self._index.dim != encoder.dim:
                self._index = VectorIndex(encoder.dim)
            self._encoder = encoder

    def is_unchanged(self, split: SplitDocument) -> bool:
        """Whether the document is stored with the same content, so that nothing has to be embedded and `add` has nothing to do."""
        return self._store.holds(split)

    def add(self, split: SplitDocument, vectors: Vector) -> DocumentResult:
        """Store a document with the vectors of its chunks, float32 `[n_chunks, dim]`, unit rows; durable and findable when this returns.

        It replaces the document of the same collection and id. Raises NotReady before `bind_encoder`, EncoderChanged where the document was
        split for another encoder, InvalidRequest where a chunk is not the text at its offsets, StorageFull.
        """
        _require_true_offsets(split)
        with self._changing:
            index = self._require_index(split, vectors)
            change = self._store.put(split, vectors)
            index.replace(change.removed, change.added, vectors)
        return DocumentResult(id=split.document.id, state=change.state, chunks=change.chunks)

    def delete(self, ref: DocumentRef) -> DeleteResponse:
        """Remove a document: no search that begins after this returns finds it. Raises DocumentNotFound."""
        with self._changing:
            removed = self._store.delete(ref)
            if self._index is not None:
                self._index.remove(removed)
        return DeleteResponse(id=ref.id, collection=ref.collection, chunks=removed.size)

    def get(self, ref: DocumentRef) -> StoredDocument:
        """A document as stored; raises DocumentNotFound."""
        return self._store.get(ref)

    def list(self, request: ListRequest) -> DocumentPage:
        """One page of the documents, by collection and id; raises InvalidRequest for a cursor that is none of ours."""
        return self._store.list(request)

    def search(self, request: SearchRequest, vector: Vector | None = None) -> SearchResponse:
        """Passages for a query, best first; `vector` is the query's, float32 `[dim]`, unit.

        Without a vector a hybrid search is a lexical one (whoever asks sets `degraded`), and a dense one raises DependencyUnavailable.
        Raises IndexMismatch for a vector of another dimension than the index has.
        """
        index = self._index
        if index is not None and vector is not None and vector.shape != (index.dim,):
            raise IndexMismatch(
                f"the index has dim {index.dim}, the query's vector has shape {vector.shape}: start with the model the index was built with"
            )
        with self._store.reading() as snapshot:
            search = Search(request, vector, snapshot, index, self._settings)
            return SearchResponse(passages=search.passages(), index_version=index_version(snapshot), timings_ms=search.timings_ms)

    def status(self) -> StoreStatus:
        """What the store holds, and the encoder it is bound to in this process."""
        return self._store.status().model_copy(update={"encoder": self._encoder})

    def verify(self) -> tuple[str, ...]:
        """Every fault found in the store, in words; empty where it is sound."""
        return self._store.verify()

    def _require_index(self, split: SplitDocument, vectors: Vector) -> VectorIndex:
        """The vector index, once it is certain that it can take `vectors`: after the commit there is no way back."""
        if self._index is None or self._encoder is None:
            raise NotReady("no encoder is bound to the store yet: try again when the Embedder is up")
        if split.encoder != self._encoder.fingerprint:
            raise EncoderChanged(
                f"document {split.document.id!r} was split for encoder {split.encoder}, {self._encoder.fingerprint} is running: split it again"
            )
        expected = (len(split.chunks), self._index.dim)
        if vectors.shape != expected or not np.isfinite(vectors).all():
            raise Internal(f"document {split.document.id!r} needs finite vectors {expected}, the encoder gave {vectors.shape}")
        return self._index


def _load_index(store: DocumentStore) -> VectorIndex | None:
    """The vectors of the store; None before the first encoder is bound, when there are none."""
    encoder = store.bound_encoder()
    if encoder is None:
        return None
    index = VectorIndex(encoder.dim)
    with store.reading() as snapshot:
        for ids, vectors in stored_vectors(snapshot, encoder.dim):
            index.add(ids, vectors)
    return index


def _require_true_offsets(split: SplitDocument) -> None:
    """Every citation rests on the offsets, so they are not taken on trust."""
    for chunk in split.chunks:
        if split.document.text[chunk.start : chunk.end] != chunk.text:
            raise InvalidRequest(f"chunk {chunk.ordinal} of document {split.document.id!r} is not its text at {chunk.start} to {chunk.end}")
