"""What `ekiben verify` and `ekiben repair` do with a data folder that no service runs on."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from core.errors import StorageFull, StoreCorrupt
from core.schemas import DocumentRef, EncoderInfo
from core.settings import RetrieverSettings
from services.durable import replacing
from services.retriever import collections, documents, integrity
from services.retriever.database import Database
from services.retriever.engine import RetrievalEngine
from services.retriever.folder import CURRENT_NAME, DataFolder
from services.retriever.scope import facet
from services.retriever.snapshot import fault_of
from services.retriever.store import index_version, read_meta, write_meta
from services.sqlite_errors import damage

_BEREFT: Final = """
SELECT number FROM documents JOIN (SELECT * FROM chunks WHERE document NOT IN (SELECT number FROM documents)) AS orphan
WHERE substr(documents.text, orphan.start_char + 1, orphan.end_char - orphan.start_char) = orphan.text
"""
"""Documents that hold the text of a chunk that belongs to none."""
_MISNAMED: Final = "misnamed"


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
    """Mend what is derived from the documents, and tell each thing that was done; then the store verifies clean. It can be cut short and run again.

    A document whose chunks, vectors or text are damaged leaves the store for the file salvaged-COLLECTION.jsonl, which `ekiben ingest` reads;
    where the text itself is not the one that was stored, the line says `"damaged": true`. One whose name is not certain goes to
    salvaged-misnamed.jsonl.

    Raises StoreLocked while a service runs; StoreCorrupt where SQLite can't read on, where the store would not verify clean, and where
    acknowledged commits are missing unless `accept_loss`; StorageFull. Then nothing has changed but CURRENT, and what was salvaged is in the
    store as well.
    """
    with DataFolder.open(data_dir, mending=True) as folder:
        is_named = folder.find_store()
        database = Database.open(folder.database)
        try:
            with database.reading() as connection:
                version = index_version(connection)
            if not accept_loss:
                folder.require_commits(version, of_any=not is_named)
            if not is_named:
                folder.switch(folder.database)
                yield f"{CURRENT_NAME} names {folder.database.name} again"
            with database.writing() as connection, _contradictions():
                yield from _repaired(connection, data_dir)
            if accept_loss:
                folder.accept_loss(version)
        finally:
            database.close()


@contextmanager
def _contradictions() -> Iterator[None]:
    """Two rows that claim the same place, or one that a table needs and doesn't have, are damage that can't be mended."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise damage(str(error)) from error


def _repaired(connection: sqlite3.Connection, data_dir: Path) -> Iterator[str]:
    connection.text_factory = _legible
    misnamed = _misnamed(connection)
    connection.execute("REINDEX")
    yield "the indexes of the tables are built anew"
    if findings := list(integrity.faults_of_rows(connection)):
        raise damage(findings[0])
    for collection, numbers in _damaged(connection, misnamed).items():
        yield from _salvage(connection, collection, numbers, data_dir)
    _require_collections(connection)
    yield from _remove_orphans(connection)
    connection.execute("INSERT INTO chunk_index (chunk_index) VALUES ('rebuild')")
    yield "the full-text index is built anew"
    for name in collections.damaged(connection):
        collections.reset(connection, name)
        yield f"the settings of collection {name!r} can't be read: it has the default ones again"
    yield from _recount(connection)
    if read_meta(connection, "snapshot"):
        write_meta(connection, "snapshot", None)
        yield "the snapshot of the vector index is given up; the next start builds another"
    connection.text_factory = str
    if faults := list(integrity.faults(connection, _dim(connection))):
        raise damage(f"{len(faults)} faults can't be mended, the first is: {faults[0]}")


def _dim(connection: sqlite3.Connection) -> int | None:
    """The dimension of the vectors; None where no encoder is bound."""
    encoder = read_meta(connection, "encoder")
    return EncoderInfo.model_validate_json(encoder).dim if encoder else None


def _require_collections(connection: sqlite3.Connection) -> None:
    """A collection that is not there has lost its name, if one of as many documents is there without any; else its documents have lost theirs."""
    lost = "SELECT documents FROM collections WHERE documents > 1 AND name NOT IN (SELECT collection FROM documents)"
    nameless = {documents for (documents,) in connection.execute(lost)}
    strays = "SELECT collection, count(*) FROM documents WHERE collection NOT IN (SELECT name FROM collections) GROUP BY collection"
    for name, count in connection.execute(strays):
        if count not in nameless:
            raise damage(f"{count} documents are in a collection {name!r} that is not there")


def _misnamed(connection: sqlite3.Connection) -> set[int]:
    """Documents that have another name in the index of names; which one is right is not known. An index that can't be read says nothing."""
    names = "SELECT number, collection, id FROM documents"
    try:
        indexed = set(connection.execute(f"{names} INDEXED BY sqlite_autoindex_documents_1"))
    except sqlite3.DatabaseError:
        return set()
    return {number for number, *_ in set(connection.execute(f"{names} NOT INDEXED")) - indexed}


def _damaged(connection: sqlite3.Connection, misnamed: Container[int]) -> dict[str, list[int]]:
    """The documents that have to go, by collection; those whose name is not certain are in none."""
    size = (_dim(connection) or 0) * 4
    bereft = {number for (number,) in connection.execute(_BEREFT)}
    found: defaultdict[str, list[int]] = defaultdict(list)
    for number, collection, id_ in connection.execute("SELECT number, collection, id FROM documents").fetchall():
        if number in misnamed:
            found[_MISNAMED].append(number)
        elif number in bereft or any(integrity.faults_of_document(connection, number, collection, id_, size)):
            found[collection].append(number)
    return found


def _salvage(connection: sqlite3.Connection, collection: str, numbers: Sequence[int], data_dir: Path) -> Iterator[str]:
    """Add documents to the file, all at once, and take them out of the store. A line that an earlier repair left there is not added again."""
    target = data_dir / f"salvaged-{collection}.jsonl"
    try:
        before = target.read_bytes().splitlines() if target.exists() else []
        known = set(before)
        with replacing(target) as file:
            file.writelines(line + b"\n" for line in before)
            for number in numbers:
                line = _salvaged_line(connection, number)
                if line not in known:
                    file.write(line + b"\n")
    except OSError as error:
        raise StorageFull(f"{target} can't be written ({error}): the store stays as it was; free some space and repair again") from error
    for number in numbers:
        (id_,) = connection.execute("DELETE FROM documents WHERE number = ? RETURNING id", (number,)).fetchone()
        yield f"document {id_!r} of collection {collection!r} is damaged and was moved to {target}: ingest it again"


def _salvaged_line(connection: sqlite3.Connection, number: int) -> bytes:
    collection, id_, title, text, metadata = connection.execute(
        "SELECT collection, id, title, text, metadata FROM documents WHERE number = ?", (number,)
    ).fetchone()
    try:
        damaged = documents.read(connection, DocumentRef.model_construct(collection=collection, id=id_)) is None
    except (StoreCorrupt, ValueError):
        damaged = True
    line = {"id": id_, "title": title, "text": text, "metadata": _read_json(metadata)} | ({"damaged": True} if damaged else {})
    return json.dumps(line, ensure_ascii=False).encode()


def _remove_orphans(connection: sqlite3.Connection) -> Iterator[str]:
    """Rows that belong to nothing; their documents, where these can be told, have been salvaged."""
    chunks = connection.execute("DELETE FROM chunks WHERE document NOT IN (SELECT number FROM documents)").rowcount
    vectors = connection.execute("DELETE FROM vectors WHERE chunk NOT IN (SELECT id FROM chunks)").rowcount
    if chunks or vectors:
        yield f"{chunks} chunks and {vectors} vectors that belong to nothing are removed"


def _legible(text: bytes) -> str:
    """Text as far as it can be read: what is not all there has another checksum, and is salvaged."""
    return text.decode(errors="replace")


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
