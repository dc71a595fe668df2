"""Storage and search behind the Retriever: the store, and the vector index that is derived from it."""

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from core.errors import CollectionNotFound, EkibenError, EncoderChanged, Internal, InvalidRequest, NotReady
from core.schemas import (
    Collection,
    CollectionChange,
    CollectionDeleted,
    CollectionList,
    CollectionRef,
    Compaction,
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
from services.retriever import backup, collections, passages
from services.retriever.base import build_base
from services.retriever.differing import differences
from services.retriever.folder import DataFolder, discard
from services.retriever.schema import ChunkIds
from services.retriever.search import Search
from services.retriever.snapshot import SnapshotRecord, keep_only
from services.retriever.store import DocumentStore, index_version
from services.retriever.vector_index import VectorIndex
from services.retriever.word_index import WordIndex

log = logging.getLogger("ekiben.retriever")


@dataclass(frozen=True)
class Live:
    """What answers at this moment. It is exchanged as a whole, so that no search sees the store of one and the index of another.

    `words` follows the store; `encoder` is the one that was bound in this process; `index` is None until the store has vectors of a known dimension.
    """

    store: DocumentStore
    index: VectorIndex | None
    words: WordIndex
    encoder: EncoderInfo | None = None


class RetrievalEngine:
    """Keeps documents and finds passages. Thread-safe, and every method blocks: searches run side by side, and beside one change at a time.

    A change is committed by the store first and then made in the vector index. A process that dies between the two loses nothing, because
    the index is brought up to the store at every start.
    """

    def __init__(self, folder: DataFolder, store: DocumentStore, settings: RetrieverSettings) -> None:
        self._folder = folder
        self._settings = settings
        # Over both steps of a change, so that two changes of a document reach the vector index in the order of their commits.
        self._changing = threading.Lock()
        # Over the building of a snapshot and what deletes snapshots.
        self._snapshotting = threading.Lock()
        self._live = Live(store, open_index(folder, store, settings), open_words(store, settings))
        self._tidy()

    @classmethod
    def open(cls, settings: RetrieverSettings) -> Self:
        """Open the store in `settings.data_dir`, and its vector index from the snapshot as far as that goes.

        Raises StoreLocked, InvalidSettings and StoreCorrupt as `DataFolder.open` and `Database.open` do, and StoreCorrupt where commits that
        were acknowledged are missing.
        """
        folder = DataFolder.open(settings.data_dir)
        with ExitStack() as undo:
            undo.callback(folder.close)
            store = DocumentStore.open(folder.database, folder.note_commit)
            undo.callback(store.close)
            if folder.is_new:
                folder.switch(store.path)
            folder.require_commits(store.index_version())
            engine = cls(folder, store, settings)
            undo.pop_all()
        return engine

    def close(self) -> None:
        """Wait for a running change, close the store and release its lock."""
        with self._snapshotting, self._changing:
            self._live.store.close()
            self._folder.close()

    @property
    def store(self) -> DocumentStore:
        """The store that answers at this moment."""
        return self._live.store

    # -- the encoder -------------------------------------------------------------------------------------------------------------

    def stored_encoder(self) -> EncoderInfo | None:
        """The encoder that the store belongs to, without its tokenizer; None before the first one was bound."""
        return self._live.store.bound_encoder()

    def belongs_to(self, encoder: EncoderInfo) -> bool:
        """Whether `encoder` is the one that was bound last, or that a reindexing ended with."""
        bound = self._live.encoder
        return bound is not None and bound.fingerprint == encoder.fingerprint

    def bind_encoder(self, encoder: EncoderInfo) -> None:
        """Take vectors of `encoder` from now on; raises IndexMismatch where the store holds those of another one."""
        with self._changing:
            live = self._live
            live.store.bind_encoder(encoder)
            index = live.index
            if index is None or index.dim != encoder.dim:
                index = VectorIndex(self._folder.path, encoder.dim, self._settings)
            self._live = replace(live, index=index, encoder=encoder)

    # -- documents ---------------------------------------------------------------------------------------------------------------

    def is_unchanged(self, split: SplitDocument) -> bool:
        """Whether the document is stored with the same content, so that nothing has to be embedded and `add` has nothing to do."""
        return self._live.store.holds(split)

    def add(self, split: SplitDocument, vectors: Vector, staged: Sequence[str] = ()) -> DocumentResult:
        """Store a document with the vectors of its chunks, float32 `[n_chunks, dim]`, unit rows; durable and findable when this returns.

        It replaces the document of the same collection and id. What was staged for the passages `staged` is forgotten with the commit.
        Raises NotReady before `bind_encoder`, EncoderChanged where the document was split for another encoder, InvalidRequest where a chunk is
        not the text at its offsets, StorageFull.
        """
        _require_true_offsets(split)
        with self._changing:
            index = self._require_index(split, vectors)
            change = self._live.store.put(split, vectors, staged)
            if change.state != "unchanged":
                index.replace(change.removed, change.added, vectors)
                self._follow(change.removed)
        return DocumentResult(id=split.document.id, state=change.state, chunks=change.chunks)

    def stage(self, encoder: str, texts: Sequence[str], vectors: Vector) -> None:
        """Keep vectors, float32 `[n, dim]`, of passages whose document comes later; durable when this returns."""
        self._live.store.stage(encoder, texts, vectors)

    def staged(self, encoder: str, texts: Sequence[str]) -> dict[str, Vector]:
        """The staged vectors, float32 `[dim]`, of those of `texts` that have one."""
        return self._live.store.staged(encoder, texts)

    def delete(self, ref: DocumentRef) -> DeleteResponse:
        """Remove a document: no search that begins after this returns finds it. Raises DocumentNotFound."""
        with self._changing:
            removed = self._live.store.delete(ref)
            self._forget(removed)
        return DeleteResponse(id=ref.id, collection=ref.collection, chunks=removed.size)

    def get(self, ref: DocumentRef) -> StoredDocument:
        """A document as stored; raises DocumentNotFound, and StoreCorrupt where it is damaged."""
        return self._live.store.get(ref)

    def list(self, request: ListRequest) -> DocumentPage:
        """One page of the documents, by collection and id; raises InvalidRequest for a cursor that is none of ours."""
        return self._live.store.list(request)

    def _forget(self, chunks: ChunkIds) -> None:
        self._follow(chunks)
        if self._live.index is not None:
            self._live.index.remove(chunks)

    def _follow(self, removed: ChunkIds) -> None:
        """Bring the word index up to the change that was just committed."""
        with self._live.store.reading() as state:
            self._live.words.follow(state, removed)

    # -- collections -------------------------------------------------------------------------------------------------------------

    def collections(self) -> CollectionList:
        """All collections, by name."""
        return self._live.store.collections()

    def collection(self, ref: CollectionRef) -> Collection:
        """A collection; one that does not exist yet is as it will be when its first document arrives."""
        return self._live.store.collection(ref)

    def put_collection(self, change: CollectionChange) -> Collection:
        """Create a collection or change its settings; raises CollectionConflict where chunks of another size are stored in it."""
        with self._changing:
            return self._live.store.put_collection(change)

    def delete_collection(self, ref: CollectionRef) -> CollectionDeleted:
        """Remove a collection with all its documents; raises CollectionNotFound."""
        with self._changing:
            return self._live.store.delete_collection(ref, self._forget)

    # -- search ------------------------------------------------------------------------------------------------------------------

    def search(self, request: SearchRequest, vector: Vector | None = None, encoder: str | None = None) -> SearchResponse:
        """Passages for a query, best first; `vector` is the query's, float32 `[dim]`, unit, made by the encoder with the fingerprint `encoder`.

        Without a vector a hybrid search is a lexical one (whoever asks sets `degraded`), and a dense one raises DependencyUnavailable.
        Raises EncoderChanged where the index belongs to another encoder by now, CollectionNotFound, StoreCorrupt.
        """
        while True:
            live = self._live
            try:
                return self._search(live, request, vector, encoder)
            except NotReady:
                if live is self._live:
                    raise  # closed; else another store has taken its place, and is asked instead

    def _search(self, live: Live, request: SearchRequest, vector: Vector | None, encoder: str | None) -> SearchResponse:
        if vector is not None and live.encoder is not None and (vector.size != live.encoder.dim or encoder not in (None, live.encoder.fingerprint)):
            raise EncoderChanged(f"the query was embedded by {encoder} (dim {vector.size}), the index belongs to {live.encoder.fingerprint} by now")
        with live.store.reading() as snapshot:
            if unknown := collections.missing(snapshot, request.collections):
                raise CollectionNotFound(f"there is no collection {unknown[0]!r}; `ekiben collections list` names them")
            search = Search(request, vector, snapshot, live.index, live.words, self._settings)
            found, rarity = search.passages(), search.rarity
            return SearchResponse(passages=found, rarity=rarity, index_version=index_version(snapshot), timings_ms=search.timings_ms)

    # -- another encoder ---------------------------------------------------------------------------------------------------------

    def open_beside(self, encoder: EncoderInfo) -> DocumentStore:
        """The store that a reindexing for `encoder` fills, or goes on filling, beside the one that answers."""
        path = self._folder.next_database()
        store = DocumentStore.open(path)
        bound = store.bound_encoder()
        if bound is not None and bound.fingerprint != encoder.fingerprint:
            store.close()
            discard(path)
            store = DocumentStore.open(path)
        store.mark_building(True)
        store.bind_encoder(encoder)
        return store

    def become(self, beside: DocumentStore, encoder: EncoderInfo) -> bool:
        """Let `beside` answer from now on, if it holds what the store holds; False where something has changed meanwhile.

        The vector index is made before changes are held back; searches that run finish where they began.
        """
        index, words = open_index(self._folder, beside, self._settings), open_words(beside, self._settings)
        with self._snapshotting, self._changing:
            if differences(self._live.store, beside):
                return False
            beside.continue_from(self._live.store.index_version())
            beside.mark_building(False)
            beside.on_commit = self._folder.note_commit
            self._take_over(Live(beside, index, words, encoder))
        return True

    # -- upkeep ------------------------------------------------------------------------------------------------------------------

    def status(self) -> StoreStatus:
        """What the store holds, and the encoder it is bound to in this process."""
        live = self._live
        return live.store.status().model_copy(update={"encoder": live.encoder})

    def verify(self) -> tuple[str, ...]:
        """Every fault found in the store and in what is derived from it, in words; empty where all is sound."""
        with self._changing:
            live = self._live
            return (*live.store.verify(), *_index_faults(live))

    def maintain(self) -> None:
        """Write a snapshot of the vector index where one is due, and take over a backup that waits. For a thread that comes by now and then."""
        self.adopt_backup()
        self._compact_words()
        if self._live.index is not None and self._live.index.is_due:
            self.write_snapshot()

    def _compact_words(self) -> None:
        live = self._live
        try:
            with live.store.reading() as state:
                live.words.compact(state)
        except NotReady:
            pass  # another store has taken its place, with words of its own

    def compact(self) -> Compaction:
        """Give the space of deleted documents back to the disk. Searches go on; changes wait while the full-text index is merged."""
        with self._changing:
            live = self._live
            before = self._bytes()
            live.store.give_back_space()
        dropped = live.index.gone if live.index is not None else 0
        if live.index is not None and live.index.pending:
            self.write_snapshot()
        return Compaction(bytes_before=before, bytes_after=self._bytes(), vectors_dropped=dropped)

    def write_snapshot(self) -> None:
        """Write the vector index to the disk and go on with it from there. Changes and searches go on; a full disk is logged and costs nothing."""
        with self._snapshotting:
            live = self._live
            if live.index is None or live.encoder is None:
                return
            try:
                self._replace_snapshot(live.store, live.index, live.encoder)
            except EkibenError as error:
                log.warning("no snapshot of the vector index", extra={"code": error.code, "error": error.message})

    def _replace_snapshot(self, store: DocumentStore, index: VectorIndex, encoder: EncoderInfo) -> None:
        with store.reading() as state:
            live, version = passages.chunk_ids(state), index_version(state)
            file = build_base(self._folder.path, encoder.dim, live, lambda ids: passages.stored_vectors(state, encoder.dim, ids), self._settings)
        record = SnapshotRecord.of(file, version, encoder.fingerprint)
        store.name_snapshot(record)
        if index.adopt(file):
            keep_only(self._folder.path, record)

    def adopt_backup(self) -> None:
        """Make a backup that waits in the data folder the store; what is stored now is forgotten. The searches that run finish where they began."""
        if not self._folder.incoming.exists():
            return
        with self._snapshotting, self._changing:
            try:
                store = backup.prepare_incoming(self._folder, self._live.store)
                if self._live.encoder is not None:
                    store.bind_encoder(self._live.encoder)
                index, words = open_index(self._folder, store, self._settings), open_words(store, self._settings)
                self._take_over(Live(store, index, words, self._live.encoder))
            except EkibenError as error:
                log.error("the backup was not restored", extra={"code": error.code, "error": error.message})
                self._folder.refuse_incoming()

    def _take_over(self, live: Live) -> None:
        """Let `live`, whose store is whole and on the disk in this folder, answer from now on."""
        old = self._live
        self._folder.switch(live.store.path)
        self._live = live
        old.store.close()
        self._tidy()

    def _tidy(self) -> None:
        """Delete what an earlier store or a crash has left in the folder, and note the number of commits."""
        store = self._live.store
        self._folder.note_commit(store.index_version())
        self._folder.discard_others()
        record = store.snapshot()
        keep_only(self._folder.path, *([record] if record else []))
        store.forget_old_stages()

    def _bytes(self) -> int:
        """The size of the store's files."""
        return sum(path.stat().st_size for path in self._folder.path.glob("*") if path.suffix in (".db", ".db-wal", ".faiss"))

    def _require_index(self, split: SplitDocument, vectors: Vector) -> VectorIndex:
        """The vector index, once it is certain that it can take `vectors`: after the commit there is no way back."""
        live = self._live
        if live.index is None or live.encoder is None:
            raise NotReady("no encoder is bound to the store yet: try again when the Embedder is up")
        if split.encoder != live.encoder.fingerprint:
            raise EncoderChanged(
                f"document {split.document.id!r} was split for encoder {split.encoder}, {live.encoder.fingerprint} is running: split it again"
            )
        expected = (len(split.chunks), live.index.dim)
        if vectors.shape != expected or not np.isfinite(vectors).all():
            raise Internal(f"document {split.document.id!r} needs finite vectors {expected}, the encoder gave {vectors.shape}")
        return live.index


def open_index(folder: DataFolder, store: DocumentStore, settings: RetrieverSettings) -> VectorIndex | None:
    """The vector index of `store`; None before the first encoder is bound, when there are no vectors."""
    encoder = store.bound_encoder()
    if encoder is None:
        return None
    with store.reading() as state:
        live = passages.chunk_ids(state)
        return VectorIndex.open(
            folder.path, encoder.dim, store.snapshot(), live, lambda ids: passages.stored_vectors(state, encoder.dim, ids), settings
        )


def open_words(store: DocumentStore, settings: RetrieverSettings) -> WordIndex:
    """The word index of `store`."""
    words = WordIndex(settings.postings_mib * 2**20)
    with store.reading() as state:
        words.follow(state)
    return words


def _index_faults(live: Live) -> tuple[str, ...]:
    """Where the indexes in memory, id for id, are not those of the store."""
    with live.store.reading() as state:
        stored = passages.chunk_ids(state)
    indexes = {"word": live.words.ids()} | ({"vector": live.index.ids()} if live.index is not None else {})
    return tuple(
        f"the {name} index holds {np.setdiff1d(ids, stored).size} chunks that are not stored and lacks {np.setdiff1d(stored, ids).size}"
        for name, ids in indexes.items()
        if not np.array_equal(stored, ids)
    )


def _require_true_offsets(split: SplitDocument) -> None:
    """Every citation rests on the offsets, so they are not taken on trust."""
    for chunk in split.chunks:
        if split.document.text[chunk.start : chunk.end] != chunk.text:
            raise InvalidRequest(f"chunk {chunk.ordinal} of document {split.document.id!r} is not its text at {chunk.start} to {chunk.end}")
