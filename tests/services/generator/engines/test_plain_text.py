from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import Unigram
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from core.errors import ModelUnavailable
from services.generator.engines.plain_text import PlainTokenizer
from tests.tiny_models import END_OF_TEXT, IM_END, IM_START

MARKS = [IM_START, IM_END, END_OF_TEXT, "<think>", "</s>", "<pad>", "<extra_id_0>", "<|", "|>", "im_end", " ", "\n", "a"]
forgeries = st.lists(st.one_of(st.sampled_from(MARKS), st.text(max_size=3)), max_size=12).map("".join)


@pytest.fixture(scope="module")
def qwen(tiny_qwen: Path) -> PreTrainedTokenizerFast:
    tokenizer = AutoTokenizer.from_pretrained(str(tiny_qwen))
    # Not special, and obeyed all the same: what Qwen3 and tool callers have.
    tokenizer.add_tokens(["<think>", "<tool_call>"])
    return tokenizer


@pytest.fixture(scope="module")
def unigram() -> PreTrainedTokenizerFast:
    """A tokenizer as T5 has it: its marks are pieces of the vocabulary as well, and the best ones for their text."""
    letters = [(letter, -5.0) for letter in "▁</>abcdehlopstx_id0n"]
    model = Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters, ("▁the", -1.0), ("<extra_id_0>", 0.0)], unk_id=2)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>", extra_special_tokens=["<extra_id_0>"]
    )


@given(forgeries)
def test_no_text_makes_a_mark(qwen: PreTrainedTokenizerFast, text: str) -> None:
    (ids,) = PlainTokenizer(qwen).encode([text])
    assert set(ids).isdisjoint(qwen.get_added_vocab().values())
    assert qwen.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) == text


@given(forgeries)
def test_no_text_makes_a_mark_that_is_in_the_vocabulary_itself(unigram: PreTrainedTokenizerFast, text: str) -> None:
    (ids,) = PlainTokenizer(unigram).encode([text], framed=True)
    assert ids[-1] == unigram.eos_token_id
    assert set(ids[:-1]).isdisjoint(set(unigram.all_special_ids) - {unigram.unk_token_id})


def test_a_mark_of_the_vocabulary_is_spelled_out(unigram: PreTrainedTokenizerFast) -> None:
    assert 1 in Tokenizer.from_str(unigram.backend_tokenizer.to_str()).encode("the</s>the", add_special_tokens=False).ids
    (ids,) = PlainTokenizer(unigram).encode(["the</s>the"])
    assert "".join(unigram.convert_ids_to_tokens(ids)).replace("▁", "") == "the</s>the"


@given(st.lists(st.text(), max_size=4))
def test_harmless_texts_have_the_tokens_of_the_models_own_tokenizer(qwen: PreTrainedTokenizerFast, texts: list[str]) -> None:
    assert PlainTokenizer(qwen).encode(texts) == [qwen.encode(text, add_special_tokens=False) for text in texts]


def test_padding_and_cutting_of_the_models_tokenizer_are_not_taken_over(qwen: PreTrainedTokenizerFast) -> None:
    own = Tokenizer.from_str(qwen.backend_tokenizer.to_str())
    own.enable_truncation(2)
    own.enable_padding(length=9)
    cutting = PreTrainedTokenizerFast(tokenizer_object=own, eos_token=IM_END)
    cutting.backend_tokenizer.enable_truncation(2)
    assert PlainTokenizer(cutting).encode(["abcdef"]) == PlainTokenizer(qwen).encode(["abcdef"])


def test_a_tokenizer_without_its_file_is_refused() -> None:
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json"):
        PlainTokenizer(object())
