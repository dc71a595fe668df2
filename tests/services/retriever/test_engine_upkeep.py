"""Snapshots, compaction, another encoder, backups and repair: what changes the files under a running engine."""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from core.errors import CollectionConflict, CollectionNotFound, DocumentNotFound, IndexMismatch, InvalidSettings, StorageFull, StoreCorrupt
from core.schemas import CollectionChange, CollectionRef, CollectionSettings, DocumentRef, EncoderInfo, ListRequest
from core.vectors import Vector
from services.retriever import backup
from services.retriever.engine import RetrievalEngine
from services.retriever.reindexing import Reindexing
from services.retriever.repairing import repair_folder, verify_folder
from tests.pipelines.ingestion.conftest import describe, minilm
from tests.services.retriever.samples import DIM, ENCODER, asking, retriever_settings, split, unit_vector, vectors_of

DOCUMENTS = [split(f"doc-{n}", f"lunch number {n}", f"dinner number {n}") for n in range(6)]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[RetrievalEngine]:
    engine = _open(tmp_path)
    for document in DOCUMENTS:
        engine.add(document, vectors_of(document))
    yield engine
    engine.close()


def _open(data: Path, **changes: object) -> RetrievalEngine:
    engine = RetrievalEngine.open(retriever_settings(data, **changes))
    engine.bind_encoder(ENCODER)
    return engine


def _found(engine: RetrievalEngine, query: str = "lunch number 3") -> dict[str, list[tuple[str, float]]]:
    answers = {mode: engine.search(asking(query, mode=mode, top_k=20), unit_vector(query)) for mode in ("dense", "lexical", "hybrid")}
    return {mode: [(passage.chunk_id, round(passage.score, 5)) for passage in answer.passages] for mode, answer in answers.items()}


def _snapshots(data: Path) -> list[Path]:
    return sorted(data.glob("vectors-*"))


# -- snapshots -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact_up_to", [1_000, 0], ids=["flat", "ivf"])
def test_searches_are_the_same_before_and_after_a_snapshot_and_a_restart(tmp_path: Path, exact_up_to: int) -> None:
    engine = _open(tmp_path, exact_up_to=exact_up_to, probes=1_000)
    for document in DOCUMENTS:
        engine.add(document, vectors_of(document))
    before = _found(engine)
    engine.write_snapshot()
    assert _found(engine) == before
    engine.delete(DocumentRef(id="doc-0"))
    later = _found(engine)
    engine.close()
    assert len(_snapshots(tmp_path)) == 1
    engine = _open(tmp_path, exact_up_to=exact_up_to, probes=1_000)
    assert _found(engine) == later
    assert engine.verify() == ()
    engine.close()


def test_a_snapshot_is_written_when_it_is_due_and_replaces_the_one_before(tmp_path: Path) -> None:
    engine = _open(tmp_path, compact_after=4)
    engine.maintain()
    assert _snapshots(tmp_path) == []
    seen = set()
    for document in DOCUMENTS:
        engine.add(document, vectors_of(document))
        engine.maintain()
        seen |= set(_snapshots(tmp_path))
    assert len(seen) == 3
    assert len(_snapshots(tmp_path)) == 1
    engine.close()


@pytest.mark.parametrize("harm", ["delete", "truncate", "flip", "empty"])
def test_a_harmed_snapshot_costs_a_rebuild_and_verify_tells(tmp_path: Path, engine: RetrievalEngine, harm: str) -> None:
    before = _found(engine)
    engine.write_snapshot()
    engine.close()
    (file,) = _snapshots(tmp_path)
    content = bytearray(file.read_bytes())
    if harm == "delete":
        file.unlink()
    elif harm == "flip":
        content[40] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 2 if harm == "truncate" else 0])
    assert any("snapshot" in fault for fault in verify_folder(retriever_settings(tmp_path)))
    again = _open(tmp_path)
    assert _found(again) == before
    again.write_snapshot()
    again.close()
    assert verify_folder(retriever_settings(tmp_path)) == ()


# -- deleted means gone ----------------------------------------------------------------------------------------------------------


def test_the_space_of_deleted_documents_comes_back_with_a_receipt(tmp_path: Path) -> None:
    engine = _open(tmp_path)
    secret = "zyzzyva " * 2_000
    for n in range(40):
        document = split(f"large-{n}", secret + str(n))
        engine.add(document, vectors_of(document))
    engine.write_snapshot()
    for n in range(40):
        engine.delete(DocumentRef(id=f"large-{n}"))
    receipt = engine.compact()
    assert receipt.vectors_dropped == 40
    assert receipt.bytes_after < receipt.bytes_before / 3
    assert all(b"zyzzyva" not in path.read_bytes() for path in tmp_path.iterdir())
    assert engine.verify() == ()
    engine.close()


# -- collections -----------------------------------------------------------------------------------------------------------------


def test_a_deleted_collection_takes_its_documents_along(engine: RetrievalEngine) -> None:
    other = split("doc-1", "lunch elsewhere", collection="other")
    engine.add(other, vectors_of(other))
    receipt = engine.delete_collection(CollectionRef(name="default"))
    assert (receipt.documents, receipt.chunks) == (6, 12)
    assert engine.verify() == ()
    assert [passage.collection for passage in engine.search(asking("lunch", collections=["default", "other"])).passages] == ["other"]
    with pytest.raises(CollectionNotFound):
        engine.delete_collection(CollectionRef(name="default"))


def test_chunk_sizes_change_only_while_a_collection_is_empty(engine: RetrievalEngine) -> None:
    sizes = CollectionSettings(chunk_tokens=64)
    assert engine.put_collection(CollectionChange(name="new", settings=sizes)).settings == sizes
    assert engine.put_collection(CollectionChange(name="default", settings=CollectionSettings(description="all"))).documents == 6
    with pytest.raises(CollectionConflict, match="6 documents"):
        engine.put_collection(CollectionChange(name="default", settings=sizes))


# -- staged vectors --------------------------------------------------------------------------------------------------------------


def test_staged_vectors_outlive_a_restart_and_go_with_their_document(tmp_path: Path) -> None:
    document = split("long", "first part", "second part")
    texts = [chunk.text for chunk in document.chunks]
    engine = _open(tmp_path)
    engine.stage(ENCODER.fingerprint, texts[:1], vectors_of(document)[:1])
    engine.close()
    engine = _open(tmp_path)
    staged = engine.staged(ENCODER.fingerprint, texts)
    assert list(staged) == texts[:1]
    assert np.array_equal(staged[texts[0]], vectors_of(document)[0])
    assert engine.staged("another", texts) == {}
    engine.add(document, vectors_of(document), texts)
    assert engine.staged(ENCODER.fingerprint, texts) == {}
    engine.close()


# -- another encoder -------------------------------------------------------------------------------------------------------------


def _target() -> EncoderInfo:
    return describe(minilm(), fingerprint="encoder-b").model_copy(update={"dim": 4})


def _reindexing(engine: RetrievalEngine, embedded: list[str], failing_after: int = 1_000) -> Reindexing:
    async def embed(texts: Sequence[str]) -> Vector:
        if len(embedded) >= failing_after:
            raise IndexMismatch("the encoder is gone")
        embedded.extend(texts)
        return np.array([unit_vector(text, 4) for text in texts], np.float32)

    from core.settings import load_settings

    return Reindexing(engine, _target(), embed, load_settings().ingestion)


def test_a_reindexing_moves_everything_and_no_search_fails_meanwhile(tmp_path: Path, engine: RetrievalEngine) -> None:
    stop, failures, answers = threading.Event(), [], [0]

    def ask() -> None:
        while not stop.is_set():
            try:
                assert engine.search(asking("lunch number 3", mode="lexical")).passages
                answers[0] += 1
            except BaseException as error:
                failures.append(error)
                return

    asker = threading.Thread(target=ask)
    asker.start()
    embedded: list[str] = []
    assert asyncio.run(_reindexing(engine, embedded).run())
    stop.set()
    asker.join()
    assert failures == []
    assert answers[0] > 0
    assert engine.status().documents == 6
    assert engine.stored_encoder().fingerprint == "encoder-b"
    assert engine.search(asking("lunch", mode="dense"), unit_vector("lunch", 4), "encoder-b").passages
    assert engine.verify() == ()
    engine.close()
    with pytest.raises(IndexMismatch, match="ekiben reindex"):
        _open(tmp_path)


def test_a_reindexing_that_was_cut_short_goes_on_and_embeds_nothing_twice(tmp_path: Path, engine: RetrievalEngine) -> None:
    embedded: list[str] = []
    failed = _reindexing(engine, embedded, failing_after=3)
    assert not asyncio.run(failed.run())
    assert failed.status.state == "failed"
    assert failed.status.error.code == "index_mismatch"
    before = _found(engine)
    engine.close()
    again = _open(tmp_path)
    assert _found(again) == before
    assert asyncio.run(_reindexing(again, embedded).run())
    assert len(embedded) == len(set(embedded)) == 6
    again.close()


def test_changes_during_a_reindexing_are_in_the_new_index(engine: RetrievalEngine) -> None:
    beside = engine.open_beside(_target())
    assert not engine.become(beside, _target())
    beside.close()
    late = split("late", "a late breakfast")
    embedded: list[str] = []
    reindexing = _reindexing(engine, embedded)
    original = engine.become

    def become(*arguments: object) -> bool:
        if engine.status().index_version == 6:
            engine.add(late, vectors_of(late))
            engine.delete(DocumentRef(id="doc-0"))
        return original(*arguments)

    engine.become = become
    assert asyncio.run(reindexing.run())
    assert engine.get(DocumentRef(id="late")).text == "a late breakfast"
    with pytest.raises(DocumentNotFound):
        engine.get(DocumentRef(id="doc-0"))
    assert engine.verify() == ()


# -- backups ---------------------------------------------------------------------------------------------------------------------


def test_a_backup_of_a_running_store_is_taken_back_while_it_runs(tmp_path: Path, engine: RetrievalEngine) -> None:
    before, version = _found(engine), engine.status().index_version
    copy = tmp_path / "copy"
    backup.back_up(engine.store.path.parent, copy)
    engine.delete(DocumentRef(id="doc-3"))
    engine.write_snapshot()
    restoring = threading.Thread(target=backup.restore, args=(copy, engine.store.path.parent))
    restoring.start()
    while restoring.is_alive():
        engine.maintain()
        restoring.join(0.05)
    assert _found(engine) == before
    assert engine.status().index_version > version
    document = split("after", "text after")
    engine.add(document, vectors_of(document))
    assert engine.verify() == ()


def test_a_backup_is_taken_back_into_a_damaged_or_a_new_folder(tmp_path: Path, engine: RetrievalEngine) -> None:
    before = _found(engine)
    copy = tmp_path / "copy"
    backup.back_up(tmp_path, copy)
    engine.close()
    (tmp_path / "store-1.db").write_bytes(b"ruined")
    (tmp_path / "CURRENT").unlink()
    for folder in (tmp_path, tmp_path / "elsewhere"):
        backup.restore(copy, folder)
        restored = _open(folder)
        assert _found(restored) == before
        restored.close()
        assert verify_folder(retriever_settings(folder)) == ()


def test_what_is_no_backup_is_refused_and_nothing_changes(tmp_path: Path, engine: RetrievalEngine) -> None:
    before = _found(engine)
    (tmp_path / "nonsense").write_bytes(b"nonsense" * 1_000)
    for path in (tmp_path / "nonsense", tmp_path / "missing"):
        with pytest.raises(InvalidSettings):
            backup.restore(path, tmp_path)
    with pytest.raises(InvalidSettings, match="exists"):
        backup.back_up(tmp_path, tmp_path / "nonsense")
    assert _found(engine) == before


# -- repair ----------------------------------------------------------------------------------------------------------------------


def _harm(data: Path, statement: str) -> None:
    connection = sqlite3.connect(data / "store-1.db", isolation_level=None)
    connection.executescript(statement)
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM facets",
        "INSERT INTO chunk_index (chunk_index) VALUES ('delete-all')",
        "UPDATE collections SET chunks = 99",
        "UPDATE collections SET settings = '{'",
        "PRAGMA foreign_keys = OFF; UPDATE collections SET name = 'defau1t'",
        "INSERT INTO collections VALUES (CAST(X'ff' AS TEXT), '{}', '', 0, 0)",
    ],
)
def test_what_is_derived_is_repaired(tmp_path: Path, engine: RetrievalEngine, statement: str) -> None:
    tagged = split("tagged", "lunch with a tag", metadata={"kind": "tagged"})
    engine.add(tagged, vectors_of(tagged))
    before = _found(engine)
    engine.close()
    _harm(tmp_path, statement)
    assert verify_folder(retriever_settings(tmp_path)) != ()
    assert list(repair_folder(tmp_path, accept_loss=False))
    assert verify_folder(retriever_settings(tmp_path)) == ()
    again = _open(tmp_path)
    assert _found(again) == before
    again.close()


@pytest.mark.parametrize(
    ("statement", "damaged"),
    [
        ("UPDATE vectors SET vector = zeroblob(32) WHERE chunk = 1", False),
        ("UPDATE chunks SET text = 'another' WHERE id = 1", False),
        ("UPDATE documents SET text = 'X' || substr(text, 2) WHERE id = 'doc-0'", True),
        ("UPDATE documents SET text = CAST(X'ff' || substr(text, 2) AS TEXT) WHERE id = 'doc-0'", True),
        ("UPDATE documents SET metadata = '{' WHERE id = 'doc-0'", True),
    ],
)
def test_what_can_not_be_mended_answers_nothing_and_is_salvaged(tmp_path: Path, engine: RetrievalEngine, statement: str, damaged: bool) -> None:
    engine.close()
    _harm(tmp_path, statement)
    list(repair_folder(tmp_path, accept_loss=False))
    assert verify_folder(retriever_settings(tmp_path)) == ()
    (line,) = (tmp_path / "salvaged-default.jsonl").read_text().splitlines()
    salvaged = json.loads(line)
    assert salvaged["id"] == "doc-0"
    assert ("damaged" in salvaged) == damaged
    assert damaged or salvaged["text"] == DOCUMENTS[0].document.text


def test_what_can_not_be_salvaged_stays_in_the_store(tmp_path: Path, engine: RetrievalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.close()
    _harm(tmp_path, "UPDATE chunks SET text = 'another' WHERE id = 1")
    found = verify_folder(retriever_settings(tmp_path))

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("services.durable.os.fsync", fail)
        with pytest.raises(StorageFull, match="salvaged-default"):
            list(repair_folder(tmp_path, accept_loss=False))
    assert verify_folder(retriever_settings(tmp_path)) == found


def test_verify_tells_when_an_index_in_memory_is_not_that_of_the_store(engine: RetrievalEngine) -> None:
    live, gone = engine._live, np.array([3], np.int64)
    assert live.index is not None
    with engine.store.reading() as state:
        live.words.follow(state, gone)
    live.index.remove(gone)
    assert engine.verify() == tuple(f"the {name} index holds 0 chunks that are not stored and lacks 1" for name in ("word", "vector"))


def test_upkeep_leaves_behind_the_words_of_what_is_gone(engine: RetrievalEngine) -> None:
    crowd = split("crowd", *(f"supper {n}" for n in range(3_000)))
    engine.add(crowd, vectors_of(crowd))
    engine.delete(DocumentRef(id="crowd"))
    before = _found(engine)
    engine.maintain()
    assert engine._live.words._tables.chunks.rows.ids.size == 2 * len(DOCUMENTS)
    assert _found(engine) == before
    assert engine.verify() == ()


def test_a_damaged_row_is_never_quoted(tmp_path: Path, engine: RetrievalEngine) -> None:
    engine.close()
    _harm(tmp_path, "UPDATE chunks SET text = 'a false quotation' WHERE id = 1")
    engine = _open(tmp_path)
    with pytest.raises(StoreCorrupt, match="ekiben repair"):
        _found(engine, "lunch number 0")
    engine.close()


def test_a_lost_log_is_refused_until_the_loss_is_accepted(tmp_path: Path) -> None:
    engine = _open(tmp_path)
    engine.add(DOCUMENTS[0], vectors_of(DOCUMENTS[0]))
    alive = tmp_path.parent / "killed"
    alive.mkdir()
    for path in tmp_path.iterdir():
        if path.suffix not in (".lock", ".db-wal", ".db-shm"):
            (alive / path.name).write_bytes(path.read_bytes())
    engine.close()
    (fault,) = verify_folder(retriever_settings(alive))
    assert "lost" in fault
    before = (alive / "store-1.db").read_bytes()
    (alive / "CURRENT").unlink()
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match="accept-loss"):
            list(repair_folder(alive, accept_loss=False))
    assert (alive / "store-1.db").read_bytes() == before
    list(repair_folder(alive, accept_loss=True))
    assert verify_folder(retriever_settings(alive)) == ()


def test_the_store_whose_commits_were_acknowledged_is_named_again_and_not_a_younger_one(tmp_path: Path, engine: RetrievalEngine) -> None:
    before = _found(engine)
    engine.close()
    other = _open(tmp_path.parent / "other")
    other.close()
    (tmp_path / "store-7.db").write_bytes((tmp_path.parent / "other" / "store-1.db").read_bytes())
    (tmp_path / "CURRENT").unlink()
    named, *_ = repair_folder(tmp_path, accept_loss=False)
    assert named == "CURRENT names store-1.db again"
    again = _open(tmp_path)
    assert _found(again) == before
    again.close()


def test_a_younger_store_with_fewer_commits_is_refused_until_the_loss_is_accepted(tmp_path: Path, engine: RetrievalEngine) -> None:
    engine.close()
    other = _open(tmp_path.parent / "other")
    other.close()
    (tmp_path / "store-1.db").rename(tmp_path / "gone")
    (tmp_path / "store-7.db").write_bytes((tmp_path.parent / "other" / "store-1.db").read_bytes())
    for _ in range(2):  # the first refusal is no reason to take it the second time
        with pytest.raises(StoreCorrupt, match="accept-loss"):
            list(repair_folder(tmp_path, accept_loss=False))
    list(repair_folder(tmp_path, accept_loss=True))
    assert verify_folder(retriever_settings(tmp_path)) == ()


def test_a_document_is_salvaged_once_though_its_repair_was_cut_short(tmp_path: Path, engine: RetrievalEngine) -> None:
    engine.close()
    _harm(tmp_path, "UPDATE chunks SET text = 'another' WHERE id = 1")
    (tmp_path / "salvaged-default.jsonl").write_text('{"id": "earlier"}')  # without the end of its line
    repairing = repair_folder(tmp_path, accept_loss=False)
    while "was moved" not in next(repairing):
        pass
    repairing.close()
    list(repair_folder(tmp_path, accept_loss=False))
    lines = (tmp_path / "salvaged-default.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["earlier", "doc-0"]
    assert verify_folder(retriever_settings(tmp_path)) == ()


def test_a_document_whose_chunk_strayed_is_salvaged(tmp_path: Path, engine: RetrievalEngine) -> None:
    long = split("long", "the first line", "the second line", "the third line")
    engine.add(long, vectors_of(long))
    engine.close()
    _harm(tmp_path, "PRAGMA foreign_keys = OFF; UPDATE chunks SET document = 999 WHERE text = 'the third line'")
    assert any("belongs to nothing" in fault for fault in verify_folder(retriever_settings(tmp_path)))
    list(repair_folder(tmp_path, accept_loss=False))
    (line,) = (tmp_path / "salvaged-default.jsonl").read_text().splitlines()
    assert json.loads(line) == {"id": "long", "title": "", "text": long.document.text, "metadata": {}}
    assert verify_folder(retriever_settings(tmp_path)) == ()


def test_a_document_whose_name_is_not_certain_is_salvaged_under_none(tmp_path: Path, engine: RetrievalEngine) -> None:
    engine.close()
    content = (tmp_path / "store-1.db").read_bytes()
    assert content.count(b"defaultdoc-0") == 2  # the row, and the index of names
    (tmp_path / "store-1.db").write_bytes(content.replace(b"defaultdoc-0", b"defaultdoc-x", 1))
    list(repair_folder(tmp_path, accept_loss=False))
    assert verify_folder(retriever_settings(tmp_path)) == ()
    (line,) = (tmp_path / "salvaged-misnamed.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == DOCUMENTS[0].document.text


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA foreign_keys = OFF; UPDATE documents SET collection = 'defau1t' WHERE id = 'doc-0'",
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'ordinal', 'ordinel') WHERE name = 'chunks'",
    ],
)
def test_what_can_be_neither_mended_nor_salvaged_is_refused_and_nothing_changes(tmp_path: Path, engine: RetrievalEngine, statement: str) -> None:
    engine.close()
    _harm(tmp_path, statement)
    before = (tmp_path / "store-1.db").read_bytes()
    with pytest.raises(StoreCorrupt, match="ekiben restore"):
        list(repair_folder(tmp_path, accept_loss=False))
    assert (tmp_path / "store-1.db").read_bytes() == before


@pytest.mark.parametrize("column", ["metadata", "structure"])
def test_metadata_that_can_not_be_read_is_damage(tmp_path: Path, engine: RetrievalEngine, column: str) -> None:
    engine.close()
    _harm(tmp_path, f"UPDATE documents SET {column} = '{{' WHERE id = 'doc-0'")
    engine = _open(tmp_path)
    with pytest.raises(StoreCorrupt, match="ekiben repair"):
        engine.get(DocumentRef(id="doc-0"))
    if column == "metadata":
        with pytest.raises(StoreCorrupt, match="ekiben repair"):
            engine.list(ListRequest())
    engine.close()


@pytest.mark.parametrize("statement", ["DELETE FROM meta WHERE key = 'index_version'", "UPDATE meta SET value = '{' WHERE key = 'encoder'"])
def test_a_damaged_record_refuses_the_start_in_our_words(tmp_path: Path, engine: RetrievalEngine, statement: str) -> None:
    engine.close()
    _harm(tmp_path, statement)
    with pytest.raises(StoreCorrupt, match="ekiben restore"):
        _open(tmp_path)


def test_the_dimension_of_the_samples_is_not_that_of_the_target() -> None:
    assert _target().dim != DIM
