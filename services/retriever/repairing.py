"""What `ekiben verify` and `ekiben repair` do with a data folder that no service runs on."""

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from core.errors import StorageFull, StoreCorrupt
from core.schemas import DocumentRef
from core.settings import RetrieverSettings
from services.durable import sync_folder
from services.retriever import collections, documents, integrity
from services.retriever.database import Database
from services.retriever.engine import RetrievalEngine
from services.retriever.folder import CURRENT_NAME, DataFolder, current_name, name_current
from services.retriever.scope import facet
from services.retriever.snapshot import fault_of
from services.retriever.store import index_version, read_meta, write_meta


def verify_folder(settings: RetrieverSettings) -> tuple[str, ...]:
    """Every fault of the store in `settings.data_dir` and of what is derived from it, in words. Raises StoreLocked and InvalidSettings."""
    try:
        engine = RetrievalEngine.open(settings)
    except StoreCorrupt as error:
        return (error.message,)
    try:
        return (*engine.verify(), *_snapshot_faults(engine))
    except StoreCorrupt as error:
        return (error.message,)
    finally:
        engine.close()


def _snapshot_faults(engine: RetrievalEngine) -> Iterator[str]:
    record = engine.store.snapshot()
    fault = fault_of(engine.store.path.parent, record) if record else None
    if record and fault:
        yield f"the snapshot of the vector index ({record.path(Path()).name}) is {fault}; each start reads the vectors from the database instead"


def repair_folder(data_dir: Path, *, accept_loss: bool) -> Iterator[str]:
    """Mend what is derived from the documents, and tell each thing that was done.

    A document whose chunks, vectors or text are damaged leaves the store for the file salvaged-COLLECTION.jsonl, which `ekiben ingest` reads;
    where the text itself is not the one that was stored, the line says `"damaged": true`.

    Raises StoreCorrupt where SQLite can't read on, StorageFull; then nothing has changed.
    """
    if not _is_named(data_dir):
        yield f"{CURRENT_NAME} names {name_current(data_dir).name} again"
    with DataFolder.open(data_dir) as folder:
        database = Database.open(folder.database)
        try:
            with database.writing() as connection:
                yield from _repaired(connection, data_dir)
                version = index_version(connection)
            if accept_loss:
                folder.accept_loss(version)
            else:
                folder.require_commits(version)
        finally:
            database.close()


def _is_named(data_dir: Path) -> bool:
    try:
        current_name(data_dir)
    except StoreCorrupt:
        return False
    return (data_dir / CURRENT_NAME).exists()


def _repaired(connection: sqlite3.Connection, data_dir: Path) -> Iterator[str]:
    connection.execute("REINDEX")
    yield "the indexes of the tables are built anew"
    for ref in _damaged(connection):
        yield _salvage(connection, ref, data_dir)
    connection.execute("INSERT INTO chunk_index (chunk_index) VALUES ('rebuild')")
    yield "the full-text index is built anew"
    yield from _recount(connection)
    if read_meta(connection, "snapshot"):
        write_meta(connection, "snapshot", None)
        yield "the snapshot of the vector index is given up; the next start builds another"


def _damaged(connection: sqlite3.Connection) -> list[DocumentRef]:
    encoder = read_meta(connection, "encoder")
    size = json.loads(encoder)["dim"] * 4 if encoder else 0
    found = connection.execute("SELECT number, collection, id FROM documents").fetchall()
    return [
        DocumentRef.model_construct(collection=collection, id=id_)
        for number, collection, id_ in found
        if any(integrity.faults_of_document(connection, number, collection, id_, size))
    ]


def _salvage(connection: sqlite3.Connection, ref: DocumentRef, data_dir: Path) -> str:
    number, title, text, metadata = connection.execute(
        "SELECT number, title, text, metadata FROM documents WHERE collection = ? AND id = ?", (ref.collection, ref.id)
    ).fetchone()
    try:
        damaged = documents.read(connection, ref) is None
    except (StoreCorrupt, ValueError):
        damaged = True
    line = {"id": ref.id, "title": title, "text": text, "metadata": _read_json(metadata)} | ({"damaged": True} if damaged else {})
    target = data_dir / f"salvaged-{ref.collection}.jsonl"
    _append_durably(target, json.dumps(line, ensure_ascii=False))
    connection.execute("DELETE FROM documents WHERE number = ?", (number,))
    return f"document {ref.id!r} of collection {ref.collection!r} is damaged and was moved to {target}: ingest it again"


def _append_durably(path: Path, line: str) -> None:
    """Add a line: on the disk when this returns, as it has to be before its document leaves the store."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError as error:
        raise StorageFull(f"{path} can't be written ({error}): the store stays as it was; free some space and repair again") from error


def _read_json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return {}


def _recount(connection: sqlite3.Connection) -> Iterator[str]:
    connection.execute("DELETE FROM facets")
    for number, collection, metadata in connection.execute("SELECT number, collection, metadata FROM documents").fetchall():
        collections.ensure(connection, collection)
        rows = [(number, key, *facet(value)) for key, value in json.loads(metadata).items()]
        connection.executemany("INSERT INTO facets (document, key, kind, value) VALUES (?, ?, ?, ?)", rows)
    connection.execute(
        "UPDATE collections SET documents = (SELECT count(*) FROM documents WHERE collection = name), "
        "chunks = (SELECT count(*) FROM chunks JOIN documents ON number = document WHERE collection = name)"
    )
    yield "filters and counts are made anew"
