from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from services.generator.engines.detokenizing import Detokenizer, text_of
from tests.services.generator.samples import JAPANESE


@pytest.fixture(scope="module", params=["qwen", "t5"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return AutoTokenizer.from_pretrained(str(request.getfixturevalue(f"tiny_{request.param}")))


def pieces_of(tokenizer: Any, tokens: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.push(token) for token in tokens), detokenizer.rest()]


@given(data=st.data())
def test_the_pieces_are_the_text(tokenizer: Any, data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=30))
    assert "".join(pieces_of(tokenizer, tokens)) == text_of(tokenizer, tokens)


@pytest.fixture(scope="module")
def qwen(tiny_qwen: Path) -> Any:
    return AutoTokenizer.from_pretrained(str(tiny_qwen))


@given(text=st.text(max_size=30))
def test_no_piece_holds_half_a_character(qwen: Any, text: str) -> None:
    tokens = qwen.encode(text, add_special_tokens=False)
    pieces = pieces_of(qwen, tokens)
    assert "".join(pieces) == text.strip()
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)


def test_a_character_comes_with_its_last_byte(qwen: Any) -> None:
    train, tram = (qwen.encode(character, add_special_tokens=False) for character in "🚂🚃")
    assert min(len(train), len(tram)) > 2
    assert pieces_of(qwen, train + tram) == [*[""] * (len(train) - 1), "🚂", *[""] * (len(tram) - 1), "🚃", ""]
    assert "".join(pieces_of(qwen, qwen.encode(JAPANESE, add_special_tokens=False))) == JAPANESE


def test_bytes_that_never_become_a_character_come_at_the_end(qwen: Any) -> None:
    first, *others, last = pieces_of(qwen, qwen.encode("a🚂", add_special_tokens=False)[:-1])
    assert (first, set(others)) == ("a", {""})
    assert set(last) == {"\ufffd"}
