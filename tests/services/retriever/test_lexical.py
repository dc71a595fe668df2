import math
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.schemas import MAX_QUESTION_CHARS
from services.retriever import lexical
from services.retriever.scope import Scope
from tests.services.retriever.samples import database_of, split

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


@settings(deadline=None)
@given(st.text(max_size=300) | st.sampled_from(SYNTAX))
def test_any_text_is_searched_without_error(query: str) -> None:
    scores = lexical.search(connection, query, 10)
    assert all(score > 0 for score in scores.values())


@pytest.mark.parametrize("query", SYNTAX)
def test_what_looks_like_syntax_is_text(query: str) -> None:
    found = lexical.search(connection, f"{query} lunch", 10)
    assert {EKIBEN, STATIONS} <= found.keys()


def test_the_longest_question_is_searched() -> None:
    words = " ".join(f"word{n}" for n in range(MAX_QUESTION_CHARS))
    assert lexical.search(connection, "lunch " + words, 10).keys() == {EKIBEN, STATIONS}
    assert lexical.search(connection, "x" * 10_000, 10) == {}


def test_terms_are_distinct_and_at_most_64() -> None:
    expression = lexical.match_expression("Lunch lunch LUNCH " + " ".join(f"word{n}" for n in range(100)))
    assert expression.count('"lunch"') == 1
    assert expression.count(" OR ") == lexical.MAX_TERMS - 1


@pytest.mark.parametrize("query", ["cafe", "CAFÉ", "cafe\u0301", "naive", "nai\u0308ve", "Straße", "snake", "case", "case_snake"])
def test_case_and_accents_do_not_matter(query: str) -> None:
    assert CAFE in lexical.search(connection, query, 10)


def test_words_match_by_their_stem() -> None:
    assert lexical.search(connection, "station", 10).keys() == {EKIBEN, STATIONS}


def test_titles_are_searched() -> None:
    assert lexical.search(connection, "voyage", 10).keys() == {CAFE}


def test_a_run_of_a_script_without_spaces_is_one_word() -> None:
    assert lexical.search(connection, "東京駅で駅弁を買う", 10).keys() == {TOKYO}
    assert lexical.search(connection, "駅弁", 10) == {}


def test_function_words_are_left_out_unless_nothing_else_remains() -> None:
    assert lexical.match_expression("What's the question?") == '"question"'
    assert NOT in lexical.search(connection, "to be or not to be", 10)


@pytest.mark.parametrize("query", ["", " ", "?!", "—", "_"])
def test_a_query_without_words_finds_nothing(query: str) -> None:
    assert lexical.search(connection, query, 10) == {}


def test_scores_are_bm25_best_first_and_the_same_within_a_scope() -> None:
    every = lexical.search(connection, "lunch stations ekiben", 10)
    assert list(every) == [EKIBEN, STATIONS]
    assert every[EKIBEN] > every[STATIONS] > 0
    expression = lexical.match_expression("lunch stations ekiben")
    raw = dict(connection.execute("SELECT rowid, rank FROM chunk_index WHERE chunk_index MATCH ?", (expression,)))
    assert every == pytest.approx({chunk: -rank for chunk, rank in raw.items()})
    assert lexical.search(connection, "lunch stations ekiben", 10, Scope.of_chunks([STATIONS, CAFE])) == {STATIONS: every[STATIONS]}


def test_k_bounds_the_result_and_equal_scores_go_by_id() -> None:
    twins = database_of(*(split(str(n), "the same words") for n in range(5)), split("other", "something else"), split("third", "not alike"))
    assert list(lexical.search(twins, "same words", 3)) == [1, 2, 3]


def test_a_scope_is_searched_within_and_not_after() -> None:
    crowd = database_of(*(split(str(n), "lunch lunch lunch") for n in range(50)), split("rare", "one lunch among many other words"))
    assert list(lexical.search(crowd, "lunch", 1, Scope.of_chunks([51]))) == [51]


def test_other_chunks_are_scored_by_the_same_measure() -> None:
    crowd = database_of(*(split(str(n), "lunch " * n + "and more") for n in range(1, 30)), split("other", "something else"))
    every = lexical.search(crowd, "lunch", 100)
    some = lexical.search(crowd, "lunch", 1, also=[7, 3, 30, 4_711])
    assert some == {chunk: every[chunk] for chunk in (next(iter(every)), 7, 3)}


def test_rare_words_weigh_more_and_unknown_ones_most() -> None:
    chunks = [split(str(n), "lunch at the stations") for n in range(9)]
    crowd = database_of(*chunks, split("rare", "a heron had lunches"))
    rarity = lexical.rarity(crowd, "Did the herons lunch at a castle?")
    assert rarity.keys() == {"heron", "lunch", "castl"}
    assert rarity["castl"] > rarity["heron"] > rarity["lunch"] > 0
    assert rarity["heron"] == pytest.approx(math.log(1 + 9.5 / 1.5))


def test_rarity_of_an_empty_store_and_of_no_words() -> None:
    assert lexical.rarity(database_of(), "lunch") == {"lunch": pytest.approx(math.log(2))}
    assert lexical.rarity(database_of(), "?!") == {}


def test_sqlite_errors_are_not_hidden() -> None:
    with pytest.raises(sqlite3.OperationalError):
        lexical.search(sqlite3.connect(":memory:"), "lunch", 10)
