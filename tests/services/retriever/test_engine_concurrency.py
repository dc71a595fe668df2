from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from core.errors import DocumentNotFound
from core.schemas import DocumentRef, Passage
from services.retriever.engine import RetrievalEngine
from services.retriever.upkeep import Upkeep
from tests.services.retriever.samples import ENCODER, asking, retriever_settings, split, unit_vector, vectors_of

# Writers and as many readers, the changes of each writer, the searches of each reader.
SHORT = (4, 120, 400)
LONG = pytest.param((16, 1_500, 2_000), marks=[pytest.mark.slow, pytest.mark.timeout(1_200)])
CHUNKS = 3
SHARED = 2  # documents that all writers fight for; every writer has one of its own beside them


def _change_often(engine: RetrievalEngine, writer: int, changes: int) -> None:
    rng = np.random.default_rng(writer)
    for version in range(changes):
        document_id = f"doc{rng.integers(SHARED)}" if version % 2 else f"own{writer}"
        if rng.random() < 0.25:
            try:
                engine.delete(DocumentRef(id=document_id))
            except DocumentNotFound:
                continue
            if document_id == f"own{writer}":
                with pytest.raises(DocumentNotFound):
                    engine.get(DocumentRef(id=document_id))
        else:
            mark = f"version{writer}x{version}"
            document = split(document_id, *(f"{document_id} lunch {mark} part{part}" for part in range(CHUNKS)), metadata={"mark": mark})
            engine.add(document, vectors_of(document))
            if document_id == f"own{writer}":
                found = engine.search(asking(mark, mode="dense", top_k=100, filters={"mark": mark}), unit_vector(mark)).passages
                assert len(found) == CHUNKS


def _look_often(engine: RetrievalEngine, searches: int) -> int:
    seen = 0
    for n in range(searches):
        mode = ("lexical", "hybrid", "dense")[n % 3]
        passages = engine.search(asking("lunch", mode=mode, top_k=100), unit_vector("lunch")).passages
        _require_whole_documents(passages, complete=mode != "dense")
        seen += len(passages)
    return seen


def _require_whole_documents(passages: tuple[Passage, ...], *, complete: bool) -> None:
    by_document: defaultdict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        by_document[passage.document_id].append(passage)
    for parts in by_document.values():
        assert len({part.metadata["mark"] for part in parts}) == 1
        assert all(part.metadata["mark"] in part.text.split() for part in parts)
        assert len({part.chunk_id for part in parts}) == len(parts)
        assert len(parts) == CHUNKS or not complete


@pytest.mark.parametrize("load", [SHORT, LONG])
def test_readers_beside_writers_and_snapshots_see_whole_documents_only(tmp_path: Path, load: tuple[int, int, int]) -> None:
    side, changes, searches = load
    engine = RetrievalEngine.open(retriever_settings(tmp_path, compact_after=40))
    engine.bind_encoder(ENCODER)
    upkeep = Upkeep(engine.maintain, every_s=0.05)
    with closing(upkeep), ThreadPoolExecutor(2 * side) as pool:
        writers = [pool.submit(_change_often, engine, writer, changes) for writer in range(side)]
        readers = [pool.submit(_look_often, engine, searches) for _ in range(side)]
        for writer in writers:
            writer.result()
        assert sum(reader.result() for reader in readers) > 0

    assert engine.verify() == ()
    before = engine.search(asking("lunch", top_k=100), unit_vector("lunch"))
    engine.close()
    engine = RetrievalEngine.open(retriever_settings(tmp_path))
    assert engine.search(asking("lunch", top_k=100), unit_vector("lunch")).passages == before.passages
    engine.close()
