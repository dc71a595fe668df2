from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import (
    CollectionNotFound,
    DependencyUnavailable,
    DocumentNotFound,
    EncoderChanged,
    IndexMismatch,
    Internal,
    InvalidRequest,
    NotReady,
    StoreCorrupt,
    StoreLocked,
)
from core.schemas import ChannelRanks, ChannelScores, DocumentRef, DocumentResult, Mode, Passage, SearchResponse, SplitDocument
from services.retriever import fusion
from services.retriever.engine import RetrievalEngine
from services.retriever.store import DocumentStore
from tests.services.retriever.samples import DIM, ENCODER, asking, bm25_of_fts5, database_of, retriever_settings, split, unit_vector, vectors_of

MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
EKIBEN = split("ekiben", "An ekiben is a boxed lunch.", "It is sold at railway stations.", title="Ekiben", metadata={"year": 2020, "lang": "en"})
CASTLE = split("castle", "Himeji castle is white.", "It is called the heron castle.", metadata={"year": 2021, "lang": "en"})
BURG = split("burg", "Die Burg Eltz ist alt.", collection="german", metadata={"lang": "de"})


def _open(data_dir: Path, **changes: object) -> RetrievalEngine:
    engine = RetrievalEngine.open(retriever_settings(data_dir, **changes))
    engine.bind_encoder(ENCODER)
    return engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[RetrievalEngine]:
    engine = _open(tmp_path)
    for document in (EKIBEN, CASTLE, BURG):
        _add(engine, document)
    yield engine
    engine.close()


def _add(engine: RetrievalEngine, document: SplitDocument) -> DocumentResult:
    return engine.add(document, vectors_of(document))


def _search(engine: RetrievalEngine, query: str, mode: Mode = "hybrid", **options: object) -> tuple[Passage, ...]:
    """Search with the vector of `query`, so that a chunk with the same text has the cosine 1."""
    return engine.search(asking(query, mode=mode, **options), unit_vector(query)).passages


def _ids(passages: tuple[Passage, ...]) -> list[str]:
    return [passage.chunk_id for passage in passages]


# -- documents -------------------------------------------------------------------------------------------------------------------


def test_a_passage_shows_the_chunk_and_its_document(engine: RetrievalEngine) -> None:
    (passage,) = _search(engine, "sold stations", "lexical", top_k=1)
    text = EKIBEN.document.text
    assert passage.model_copy(update={"score": 0.0, "scores": ChannelScores(), "ranks": ChannelRanks()}) == Passage(
        document_id="ekiben",
        chunk_id="ekiben#1",
        collection="default",
        title="Ekiben",
        start=28,
        end=len(text),
        text=text[28:],
        page=2,
        metadata={"year": 2020, "lang": "en"},
        score=0.0,
        scores=ChannelScores(),
    )


def test_adding_reports_what_became_of_the_document(engine: RetrievalEngine) -> None:
    changed = split("castle", "Himeji castle was repaired.")
    assert not engine.is_unchanged(changed)
    assert _add(engine, changed) == DocumentResult(id="castle", state="updated", chunks=1)
    assert engine.is_unchanged(changed)
    assert _add(engine, changed) == DocumentResult(id="castle", state="unchanged", chunks=1)
    assert _add(engine, split("new", "New text.")) == DocumentResult(id="new", state="created", chunks=1)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_of_a_replaced_document_is_found(engine: RetrievalEngine, mode: Mode) -> None:
    _add(engine, split("castle", "Osaka was rebuilt in concrete."))
    for query in ("Himeji castle is white.", "heron"):
        texts = [passage.text for passage in _search(engine, query, mode, top_k=100)]
        assert not any("castle" in text for text in texts)
    assert _search(engine, "Osaka was rebuilt in concrete.", mode)[0].document_id == "castle"


@pytest.mark.parametrize("mode", MODES)
def test_nothing_of_a_deleted_document_is_found(engine: RetrievalEngine, mode: Mode) -> None:
    response = engine.delete(DocumentRef(id="castle"))
    assert (response.deleted, response.chunks) == (True, 2)
    assert all(passage.document_id == "ekiben" for passage in _search(engine, "Himeji castle is white.", mode, top_k=100))
    for use in (engine.get, engine.delete):
        with pytest.raises(DocumentNotFound):
            use(DocumentRef(id="castle"))


@pytest.mark.parametrize("mode", MODES)
def test_a_restart_gives_the_same_answers(tmp_path: Path, mode: Mode) -> None:
    engine = _open(tmp_path)
    for document in (EKIBEN, CASTLE, BURG, split("castle", "Himeji castle was repaired.", "It is white.")):
        _add(engine, document)
    engine.delete(DocumentRef(id="burg", collection="german"))
    before = engine.search(asking("white castle lunch", mode=mode), unit_vector("white castle lunch"))
    engine.close()
    engine = _open(tmp_path)
    after = engine.search(asking("white castle lunch", mode=mode), unit_vector("white castle lunch"))
    engine.close()
    assert after.passages == before.passages
    assert after.passages
    assert after.index_version == before.index_version == 5


def test_a_document_that_only_the_store_got_is_found_after_a_restart(tmp_path: Path) -> None:
    """The process died between the commit and the change of the vector index."""
    _open(tmp_path).close()
    store = DocumentStore.open(tmp_path / "store-1.db")
    store.put(CASTLE, vectors_of(CASTLE))
    store.close()
    engine = _open(tmp_path)
    assert _ids(_search(engine, "It is called the heron castle.", "dense", top_k=1)) == ["castle#1"]
    engine.close()


def test_status_counts_and_names_the_encoder(engine: RetrievalEngine) -> None:
    status = engine.status()
    assert (status.documents, status.chunks, status.index_version) == (3, 5, 3)
    assert status.collections == {"default": 2, "german": 1}
    assert (status.encoder, status.problem) == (ENCODER, None)
    assert engine.verify() == ()


def test_a_change_waits_for_the_one_before_it(engine: RetrievalEngine) -> None:
    with ThreadPoolExecutor(1) as pool:
        with engine._changing:
            add = pool.submit(_add, engine, split("castle", "Himeji castle was repaired."))
            with pytest.raises(TimeoutError):
                add.result(timeout=0.1)
            assert engine.get(DocumentRef(id="castle")).text == CASTLE.document.text
        assert add.result().state == "updated"


# -- refusals --------------------------------------------------------------------------------------------------------------------


def test_a_store_takes_documents_once_an_encoder_is_bound(tmp_path: Path) -> None:
    engine = RetrievalEngine.open(retriever_settings(tmp_path))
    with pytest.raises(NotReady, match="no encoder"):
        _add(engine, EKIBEN)
    assert _search(engine, "lunch") == ()
    assert engine.status().encoder is None
    engine.close()


def test_words_are_searched_before_the_encoder_is_bound_again(tmp_path: Path) -> None:
    engine = _open(tmp_path)
    _add(engine, EKIBEN)
    engine.close()
    engine = RetrievalEngine.open(retriever_settings(tmp_path))
    assert _ids(engine.search(asking("lunch")).passages) == ["ekiben#0"]
    engine.close()


def test_a_document_split_for_another_encoder_is_refused(engine: RetrievalEngine) -> None:
    with pytest.raises(EncoderChanged, match=r"'castle'.*encoder-b.*encoder-a"):
        _add(engine, CASTLE.model_copy(update={"encoder": "encoder-b"}))


@pytest.mark.parametrize("vectors", [np.zeros((1, DIM)), np.zeros((2, DIM + 1)), np.full((2, DIM), np.nan)])
def test_vectors_that_do_not_fit_are_refused_before_anything_is_stored(engine: RetrievalEngine, vectors: np.ndarray) -> None:
    with pytest.raises(Internal, match="'new'"):
        engine.add(split("new", "two", "chunks"), vectors.astype(np.float32))
    assert engine.status().documents == 3


def test_a_chunk_that_is_not_the_text_at_its_offsets_is_refused(engine: RetrievalEngine) -> None:
    moved = CASTLE.chunks[0].model_copy(update={"start": 1})
    with pytest.raises(InvalidRequest, match="chunk 0 of document 'castle' is not its text at 1 to 23"):
        engine.add(CASTLE.model_copy(update={"chunks": (moved,)}), vectors_of(CASTLE)[:1])


def test_another_encoder_is_refused_while_there_are_vectors(engine: RetrievalEngine) -> None:
    with pytest.raises(IndexMismatch):
        engine.bind_encoder(ENCODER.model_copy(update={"fingerprint": "encoder-b"}))
    assert _search(engine, "castle")


def test_an_empty_store_takes_another_dimension(tmp_path: Path) -> None:
    engine = _open(tmp_path)
    wide = ENCODER.model_copy(update={"fingerprint": "encoder-b", "dim": 3})
    engine.bind_encoder(wide)
    engine.add(split("a", "text").model_copy(update={"encoder": "encoder-b"}), np.eye(1, 3, dtype=np.float32))
    assert len(engine.search(asking("x", mode="dense"), np.eye(1, 3, dtype=np.float32)[0]).passages) == 1
    engine.close()


def test_a_query_vector_of_another_dimension_is_refused(engine: RetrievalEngine) -> None:
    with pytest.raises(EncoderChanged, match="dim 3"):
        engine.search(asking("castle"), np.zeros(3, np.float32))


def test_a_query_vector_of_another_encoder_is_refused(engine: RetrievalEngine) -> None:
    with pytest.raises(EncoderChanged, match="encoder-b"):
        engine.search(asking("castle"), unit_vector("castle"), "encoder-b")


def test_a_second_engine_on_the_folder_is_refused(engine: RetrievalEngine, tmp_path: Path) -> None:
    with pytest.raises(StoreLocked):
        RetrievalEngine.open(retriever_settings(tmp_path))


def test_a_damaged_store_refuses_to_open_and_lets_go_of_the_lock(tmp_path: Path) -> None:
    engine = _open(tmp_path)
    for n in range(50):
        _add(engine, split(str(n), f"text {n}" * 50))
    engine.close()
    file = tmp_path / "store-1.db"
    file.write_bytes(file.read_bytes()[:4096] + b"\xff" * (file.stat().st_size - 4096))
    with pytest.raises(StoreCorrupt) as refusal:
        RetrievalEngine.open(retriever_settings(tmp_path))
    assert refusal.tb  # keeps the objects of the failed opening, so that it is not their end that frees the lock
    with pytest.raises(StoreCorrupt):
        RetrievalEngine.open(retriever_settings(tmp_path))


# -- search ----------------------------------------------------------------------------------------------------------------------

WORDS = ("lunch", "station", "castle", "white", "heron", "sold", "old")
sentences = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(sentences, min_size=1, max_size=8), sentences, st.integers(1, 4), st.sampled_from(["convex", "rrf"]), st.integers(0, 10))
def test_hybrid_is_the_fusion_of_what_both_channels_say_of_all_candidates(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], query: str, candidates: int, method: str, tenths: int
) -> None:
    engine = _open(tmp_path_factory.mktemp("store"), candidates=candidates, fusion=method, dense_weight=tenths / 10)
    chunks = [split(str(n), text) for n, text in enumerate(texts, start=1)]
    for document in chunks:
        _add(engine, document)
    exact = {n: float(vectors_of(document)[0] @ unit_vector(query)) for n, document in enumerate(chunks, start=1)}
    words = bm25_of_fts5(database_of(*chunks), query)
    top_k = 2
    # Asked of the channels themselves: which of equal cosines is the last candidate is for FAISS to say.
    depth = max(candidates, top_k)
    by_words, by_meaning = (_search(engine, query, mode, top_k=depth) for mode in ("lexical", "dense"))
    # With the cosines as they are rounded: the fusion makes much of a little where all are close.
    of_dense = {int(passage.document_id): passage.scores.dense or 0.0 for passage in (*by_words, *by_meaning)}
    of_words = {n: words[n] for n in of_dense if n in words}
    convex = fusion.convex(of_dense, of_words, tenths / 10)
    expected = convex if method == "convex" else fusion.rrf([fusion.ranked(of_dense), fusion.ranked(of_words)], 60)

    passages = _search(engine, query, top_k=top_k)
    engine.close()
    assert len(passages) == min(top_k, len(expected))
    assert [passage.score for passage in passages] == pytest.approx(sorted(expected.values(), reverse=True)[:top_k], abs=1e-5)
    for passage in passages:
        n = int(passage.document_id)
        assert passage.score == pytest.approx(expected[n], abs=1e-5)
        assert passage.scores.dense == pytest.approx(exact[n], abs=1e-5)
        assert passage.scores.lexical == pytest.approx(words.get(n, 0.0), rel=1e-5)
        assert passage.ranks.dense == _rank(of_dense, n)
        assert passage.ranks.lexical == (_rank(of_words, n) if n in of_words else None)
    assert [passage.ranks.fused for passage in passages] == list(range(1, len(passages) + 1))


def _rank(scores: dict[int, float], chunk: int) -> int:
    return 1 + sum((-score, other) < (-scores[chunk], chunk) for other, score in scores.items())


def test_words_that_are_hardly_found_leave_more_to_the_vectors_of_an_english_question(tmp_path: Path) -> None:
    texts = ["The castle is white.", "Herons live at the station.", "Lunch is sold there."]
    found: dict[str, list[list[float]]] = {}
    for query in ("Which of the walls of the castle was old?", "Welche alten Mauern umgeben heute noch castle Himeji?"):
        for gain in (0.0, 1.0):
            engine = _open(tmp_path / f"{query[:3]}{gain}", dense_weight=0.5, dense_weight_gain=gain)
            for number, text in enumerate(texts):
                _add(engine, split(str(number), text))
            found.setdefault(query[:3], []).append([passage.score for passage in _search(engine, query, top_k=3)])
            engine.close()
    (without, more), (other, same) = found.values()
    assert without != more
    assert other == same


def test_each_mode_asks_its_channels_only(engine: RetrievalEngine) -> None:
    for passage in _search(engine, "castle", "dense"):
        assert passage.scores == ChannelScores(dense=passage.score)
        assert passage.ranks.lexical is None
    (one, other) = engine.search(asking("castle", mode="lexical")).passages
    assert one.scores == ChannelScores(lexical=one.score)
    assert one.score >= other.score > 0


def test_a_lexical_search_with_a_vector_shows_cosines_but_ranks_by_words(engine: RetrievalEngine) -> None:
    (passage,) = _search(engine, "heron", "lexical")
    assert passage.scores.dense == pytest.approx(float(unit_vector(passage.text) @ unit_vector("heron")), abs=1e-5)
    assert passage.score == passage.scores.lexical


def test_without_a_vector_hybrid_is_lexical_and_dense_is_refused(engine: RetrievalEngine) -> None:
    hybrid, words = (engine.search(asking("castle", mode=mode)) for mode in ("hybrid", "lexical"))
    assert hybrid.passages == words.passages != ()
    with pytest.raises(DependencyUnavailable, match="hybrid"):
        engine.search(asking("castle", mode="dense"))


@pytest.mark.parametrize("mode", MODES)
def test_a_search_stays_in_its_collections(engine: RetrievalEngine, mode: Mode) -> None:
    query = "Die Burg Eltz castle"
    assert {p.collection for p in _search(engine, query, mode)} == {"default"}
    assert {p.collection for p in _search(engine, query, mode, collections=["german"])} == {"german"}
    assert {p.collection for p in _search(engine, query, mode, collections=["german", "default"])} == {"german", "default"}
    with pytest.raises(CollectionNotFound, match="'none'"):
        _search(engine, query, mode, collections=["default", "none"])


@pytest.mark.parametrize("mode", MODES)
def test_a_selective_filter_is_searched_within_and_not_after(tmp_path: Path, mode: Mode) -> None:
    engine = _open(tmp_path, candidates=1)
    for n in range(20):
        _add(engine, split(str(n), "lunch lunch lunch", metadata={"rare": False}))
    _add(engine, split("rare", "lunch and much else", metadata={"rare": True}))
    assert _ids(_search(engine, "lunch lunch lunch", mode, filters={"rare": True})) == ["rare#0"]
    assert _search(engine, "lunch lunch lunch", mode, filters={"rare": 1}) == ()
    engine.close()


def test_chunks_that_are_gone_are_passed_over_and_the_list_is_filled(engine: RetrievalEngine) -> None:
    """The store is a change ahead of the vector index, as between the two steps of a deletion."""
    query, everywhere = CASTLE.chunks[0].text, ["default", "german"]
    assert _ids(_search(engine, query, "dense", top_k=3, collections=everywhere))[0] == "castle#0"
    engine.store.delete(DocumentRef(id="castle"))
    assert set(_ids(_search(engine, query, "dense", top_k=3, collections=everywhere))) == {"ekiben#0", "ekiben#1", "burg#0"}


def test_more_passages_than_candidates_can_be_asked_for(tmp_path: Path) -> None:
    engine = _open(tmp_path, candidates=1)
    for n in range(5):
        _add(engine, split(str(n), f"lunch {n}"))
    assert [len(_search(engine, "lunch", mode, top_k=4)) for mode in MODES] == [4, 4, 4]
    engine.close()


def test_a_response_says_what_it_cost_and_of_which_state_it_is(engine: RetrievalEngine) -> None:
    response: SearchResponse = engine.search(asking("castle"), unit_vector("castle"))
    assert response.timings_ms.keys() == {"filter", "dense", "lexical", "fuse", "fetch", "rarity"}
    assert all(ms >= 0 for ms in response.timings_ms.values())
    assert response.index_version == engine.status().index_version
    assert not response.degraded
