import math

import numpy as np
import pytest

from services.retriever import lexical


def test_words_are_distinct_and_at_most_64() -> None:
    words = lexical.searched_words("Lunch lunch LUNCH " + " ".join(f"word{n}" for n in range(100)))
    assert words[:2] == ["lunch", "word0"]
    assert len(words) == lexical.MAX_TERMS


def test_function_words_are_looked_for_where_there_are_no_others() -> None:
    assert lexical.searched_words("What's the question?") == ["question"]
    assert lexical.searched_words("To be or not to be?") == ["to", "be", "or", "not"]
    assert lexical.searched_words("?!") == []


def test_a_word_that_nearly_all_chunks_hold_still_counts_a_little() -> None:
    assert lexical.idf(10, 1) == pytest.approx(math.log(9.5 / 1.5))
    assert lexical.idf(10, 9) == lexical.idf(10, 11) == lexical.LEAST_IDF
    assert lexical.rarity(10, 0) > lexical.rarity(10, 9) > lexical.rarity(10, 11) == math.log(1)


def test_bm25_grows_with_the_word_and_falls_with_the_length_up_to_a_bound() -> None:
    once, twice, often, longer = lexical.bm25(np.array([1, 2, 10_000, 1]), np.array([10, 10, 10, 20], np.float32), 10.0)
    assert once == pytest.approx(1.0)
    assert longer < once < twice < often < 1 + lexical.K1
