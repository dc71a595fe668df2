import math
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from core.errors import StoreCorrupt
from core.schemas import MAX_QUESTION_CHARS, SplitDocument
from services.retriever import documents
from services.retriever.database import Database
from services.retriever.schema import ChunkIds
from services.retriever.store import DocumentStore
from services.retriever.word_index import WordIndex
from tests.services.retriever.samples import bm25_of_fts5, database_of, split, vectors_of

MIB = 2**20
NONE = np.empty(0, np.int64)

SYNTAX = [
    "AND",
    "OR NOT",
    'a"b',
    '"',
    "col:x",
    "title:station",
    "*",
    "sta*",
    "NEAR(",
    "NEAR(a b, 2)",
    "-",
    "(",
    "^station",
    "{title}:x",
    "+",
    "😀",
    "\x00",
]

connection = database_of(
    split("ekiben", "An ekiben is a boxed lunch sold at railway stations.", title="Ekiben"),
    split("stations", "Nagoya Station is the largest. Stations sell lunch.", title="Railways"),
    split("cafe", "Le Café était fermé; naïve Straße snake_case.", title="Voyage"),
    split("not", "To be or not to be: that is the question."),
    split("tokyo", "東京駅で駅弁を買う"),
)
EKIBEN, STATIONS, CAFE, NOT, TOKYO = range(1, 6)


def _search(state: sqlite3.Connection, query: str, k: int, allowed: Sequence[int] | None = None, also: Sequence[int] = ()) -> dict[int, float]:
    return _words(state).search(state, query, k, None if allowed is None else _ids(*allowed), also)


def _words(state: sqlite3.Connection, budget: int = MIB) -> WordIndex:
    words = WordIndex(budget)
    words.follow(state)
    return words


def _ids(*ids: int) -> ChunkIds:
    return np.array(ids, np.int64)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE chunk_index_data SET block = zeroblob(4) WHERE id = 1",
        "DELETE FROM chunk_index_data WHERE id = 1",
        "UPDATE chunk_index_docsize SET sz = x'01' WHERE id = 1",
        "UPDATE chunk_index_docsize SET sz = 'text' WHERE id = 1",
    ],
)
def test_a_damaged_full_text_index_is_told(damage: str) -> None:
    state = database_of(split("ekiben", "An ekiben is a boxed lunch."), split("cafe", "A lunch in a café."))
    state.execute(damage)
    with pytest.raises(StoreCorrupt, match="ekiben repair"):
        _search(state, "lunch", 5)


@settings(deadline=None)
@given(st.text(max_size=300) | st.sampled_from(SYNTAX))
def test_any_text_is_searched_without_error(query: str) -> None:
    scores = _search(connection, query, 10)
    assert all(score > 0 for score in scores.values())


@pytest.mark.parametrize("query", SYNTAX)
def test_what_looks_like_syntax_is_text(query: str) -> None:
    found = _search(connection, f"{query} lunch", 10)
    assert {EKIBEN, STATIONS} <= found.keys()


def test_the_longest_question_is_searched() -> None:
    words = " ".join(f"word{n}" for n in range(MAX_QUESTION_CHARS))
    assert _search(connection, "lunch " + words, 10).keys() == {EKIBEN, STATIONS}
    assert _search(connection, "x" * 10_000, 10) == {}


@pytest.mark.parametrize("query", ["cafe", "CAFÉ", "cafe\u0301", "naive", "nai\u0308ve", "Straße", "snake", "case", "case_snake"])
def test_case_and_accents_do_not_matter(query: str) -> None:
    assert CAFE in _search(connection, query, 10)


def test_words_match_by_their_stem() -> None:
    assert _search(connection, "station", 10).keys() == {EKIBEN, STATIONS}


def test_titles_are_searched() -> None:
    assert _search(connection, "voyage", 10).keys() == {CAFE}


def test_a_run_of_a_script_without_spaces_is_one_word() -> None:
    assert _search(connection, "東京駅で駅弁を買う", 10).keys() == {TOKYO}
    assert _search(connection, "駅弁", 10) == {}


def test_function_words_are_left_out_unless_nothing_else_remains() -> None:
    assert _search(connection, "What's the question?", 10).keys() == {NOT}
    assert NOT in _search(connection, "to be or not to be", 10)


@pytest.mark.parametrize("query", ["", " ", "?!", "—", "_"])
def test_a_query_without_words_finds_nothing(query: str) -> None:
    assert _search(connection, query, 10) == {}


def test_scores_are_bm25_best_first_and_the_same_within_a_scope() -> None:
    every = _search(connection, "lunch stations ekiben", 10)
    assert list(every) == [EKIBEN, STATIONS]
    assert every[EKIBEN] > every[STATIONS] > 0
    assert every == pytest.approx(bm25_of_fts5(connection, "lunch stations ekiben"))
    assert _search(connection, "lunch stations ekiben", 10, [STATIONS, CAFE]) == {STATIONS: every[STATIONS]}


def test_k_bounds_the_result_and_equal_scores_go_by_id() -> None:
    twins = database_of(*(split(str(n), "the same words") for n in range(5)), split("other", "something else"), split("third", "not alike"))
    assert list(_search(twins, "same words", 3)) == [1, 2, 3]


def test_a_scope_is_searched_within_and_not_after() -> None:
    crowd = database_of(*(split(str(n), "lunch lunch lunch") for n in range(50)), split("rare", "one lunch among many other words"))
    assert list(_search(crowd, "lunch", 1, ([51]))) == [51]


def test_other_chunks_are_scored_by_the_same_measure() -> None:
    crowd = database_of(*(split(str(n), "lunch " * n + "and more") for n in range(1, 30)), split("other", "something else"))
    every = _search(crowd, "lunch", 100)
    some = _search(crowd, "lunch", 1, also=[7, 3, 30, 4_711])
    assert some == {chunk: every[chunk] for chunk in (next(iter(every)), 7, 3)}


def test_rare_words_weigh_more_and_unknown_ones_most() -> None:
    chunks = [split(str(n), "lunch at the stations") for n in range(9)]
    crowd = database_of(*chunks, split("rare", "a heron had lunches"))
    rarity = _words(crowd).rarity(crowd, "Did the herons lunch at a castle?")
    assert rarity.keys() == {"heron", "lunch", "castl"}
    assert rarity["castl"] > rarity["heron"] > rarity["lunch"] > 0
    assert rarity["heron"] == pytest.approx(math.log(1 + 9.5 / 1.5))


def test_rarity_of_an_empty_store_and_of_no_words() -> None:
    assert _words(database_of()).rarity(database_of(), "lunch") == {"lunch": pytest.approx(math.log(2))}
    assert _words(database_of()).rarity(database_of(), "?!") == {}


def test_sqlite_errors_are_not_hidden() -> None:
    with pytest.raises(sqlite3.OperationalError):
        _search(sqlite3.connect(":memory:"), "lunch", 10)


# -- beside a store that changes --------------------------------------------------------------------------------------------------

WORDS = ("lunch", "lunches", "station", "castle", "white", "heron", "sold", "old", "Straße", "x")
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)


class BesideFts5(RuleBasedStateMachine):
    """Documents come, change and go; the index agrees with FTS5 after each search, whatever it had read and kept before."""

    @initialize(budget=st.sampled_from([0, 60, MIB]))
    def start(self, budget: int) -> None:
        self.connection = database_of()
        self.words = WordIndex(budget)
        self.numbers: list[int] = []
        self.version = 0

    @rule(chunks=st.lists(texts, min_size=1, max_size=3), title=texts)
    def add(self, chunks: list[str], title: str) -> None:
        document = split(f"document {self.version}", *chunks, title=title)
        documents.insert(self.connection, document, "", vectors_of(document))
        found = documents.find(self.connection, "default", document.document.id)
        assert found
        self.numbers.append(found.number)
        self._changed()

    @rule(place=st.integers(0, 100))
    def remove(self, place: int) -> None:
        if self.numbers:
            self._changed(documents.remove(self.connection, self.numbers.pop(place % len(self.numbers))))

    @rule()
    def fold(self) -> None:
        self.words._tables.postings._fold()

    @rule()
    def compact(self) -> None:
        self.words._tables.chunks.removals += 10**6
        self.words.compact(self.connection)

    @rule(query=texts)
    def search(self, query: str) -> None:
        expected = bm25_of_fts5(self.connection, query)
        assert self.words.search(self.connection, query, 100) == pytest.approx(expected, rel=1e-5)

    @rule(word=st.sampled_from([word for word in WORDS if word.isascii()]))
    def count(self, word: str) -> None:
        (total,) = self.connection.execute("SELECT count(*) FROM chunks").fetchone()
        (holding,) = self.connection.execute("SELECT count(*) FROM chunk_index WHERE chunk_index MATCH ?", (word,)).fetchone()
        (rarity,) = self.words.rarity(self.connection, word).values()
        assert rarity == pytest.approx(math.log(1 + (total - holding + 0.5) / (holding + 0.5)))

    @invariant()
    def keeps_to_its_memory(self) -> None:
        if hasattr(self, "words"):
            postings = self.words._tables.postings
            assert sum(posting.bytes for posting in postings._kept.values()) == postings._bytes <= postings._budget

    def _changed(self, removed: ChunkIds = NONE) -> None:
        self.version += 1
        self.connection.execute("UPDATE meta SET value = ? WHERE key = 'index_version'", (self.version,))
        self.words.follow(self.connection, removed)


TestBesideFts5 = BesideFts5.TestCase
TestBesideFts5.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)


def test_many_new_chunks_are_read_from_the_store_instead_of_being_cut_again() -> None:
    state = database_of(split("first", "lunch"))
    words = _words(state)
    assert words.search(state, "lunch", 1_000).keys() == {1}
    many = split("many", *(f"lunch {n}" for n in range(700)))
    documents.insert(state, many, "", vectors_of(many))
    assert words.search(state, "lunch", 1_000) == pytest.approx(bm25_of_fts5(state, "lunch"), rel=1e-5)
    assert len(words.search(state, "lunch", 1_000)) == 701


def _open(path: Path) -> tuple[DocumentStore, WordIndex]:
    store, words = DocumentStore(Database.open(path)), WordIndex(MIB)
    with store.reading() as state:
        words.follow(state)
    return store, words


def _put(store: DocumentStore, words: WordIndex, document: SplitDocument) -> None:
    removed = store.put(document, vectors_of(document)).removed
    with store.reading() as state:
        words.follow(state, removed)


def _require_agreement(words: WordIndex, state: sqlite3.Connection, query: str) -> None:
    assert words.search(state, query, 10_000) == pytest.approx(bm25_of_fts5(state, query), rel=1e-5)


@pytest.mark.parametrize("asked_before", [True, False])
def test_a_state_is_searched_as_it_was_whatever_came_since(tmp_path: Path, asked_before: bool) -> None:
    store, words = _open(tmp_path / "store.db")
    _put(store, words, split("one", "lunch at one"))
    _put(store, words, split("two", "lunch at two"))
    with store.reading() as before:
        if asked_before:
            _require_agreement(words, before, "lunch two")
        else:
            assert before.execute("SELECT count(*) FROM chunks").fetchone() == (2,)  # a state is the one of its first statement
        _put(store, words, split("two", "supper at two", "lunch at three"))
        with store.reading() as after:
            _require_agreement(words, after, "lunch two")
        _require_agreement(words, before, "lunch two")
        assert words.search(before, "lunch two", 10).keys() == {1, 2}
    store.close()


def test_a_state_older_than_what_the_index_knows_is_read_by_itself(tmp_path: Path) -> None:
    store, words = _open(tmp_path / "store.db")
    _put(store, words, split("one", "lunch at one"))
    with store.reading() as before:
        assert before.execute("SELECT count(*) FROM chunks").fetchone() == (1,)
        _put(store, words, split("one", "supper"))
        with store.reading() as after:
            words = _words(after)
            _require_agreement(words, before, "lunch")
            _require_agreement(words, after, "lunch supper")
    store.close()


def test_what_is_gone_is_left_behind_by_a_compaction_and_what_changes_meanwhile_is_not(tmp_path: Path) -> None:
    store, words = _open(tmp_path / "store.db")
    _put(store, words, split("crowd", *(f"lunch {n}" for n in range(3_000))))
    _put(store, words, split("stays", "lunch forever"))
    _put(store, words, split("crowd", "supper"))
    with store.reading() as state:
        _require_agreement(words, state, "lunch forever again")
        _put(store, words, split("stays", "lunch again"))
        _put(store, words, split("late", "lunch late"))
        with store.reading() as between:
            assert between.execute("SELECT count(*) FROM chunks").fetchone() == (3,)
            _put(store, words, split("late", "too late"))
            words.compact(state)
            for seen in (state, between):
                _require_agreement(words, seen, "lunch forever again late")
    assert words._tables.chunks.rows.ids.size < 10
    with store.reading() as state:
        _require_agreement(words, state, "lunch forever again late")
        assert words.ids().tolist() == [chunk for (chunk,) in state.execute("SELECT id FROM chunks ORDER BY id")]
    store.close()


def test_searches_beside_a_writer_agree_with_fts5_in_the_state_they_see(tmp_path: Path) -> None:
    store, words = _open(tmp_path / "store.db")
    done = threading.Event()

    def write() -> None:
        for version in range(60):
            parts = [f"lunch {WORDS[(version + part) % len(WORDS)]} {version}" for part in range(1 + version % 4)]
            _put(store, words, split(f"document {version % 7}", *parts))
            if version % 20 == 19:
                words._tables.chunks.removals += 10**6
                with store.reading() as state:
                    words.compact(state)

    def read() -> int:
        searches = 0
        while not done.is_set() or not searches:
            with store.reading() as state:
                found = words.search(state, "old lunch", 1_000)
                # A removal is told after its commit: for a moment what is gone is found too, and passed over when it is fetched.
                assert bm25_of_fts5(state, "old lunch").keys() <= found.keys()
            searches += 1
        return searches

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            pool.submit(write).result()
        finally:
            done.set()
        assert sum(reader.result() for reader in readers) > 0
    with store.reading() as state:
        _require_agreement(words, state, "old lunch")
    store.close()
