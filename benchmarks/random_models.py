"""Models of published sizes with random weights: what serving costs does not depend on what the weights say."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, T5Config, T5ForConditionalGeneration

# Sizes of the published models; t5-small and qwen-small are for a CPU.
MODELS: dict[str, dict[str, Any]] = {
    "t5-small": {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8, "num_heads": 6, "feed_forward_proj": "gated-gelu"},
    "flan-t5-base": {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12, "feed_forward_proj": "gated-gelu"},
    "qwen-small": {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 2},
    "qwen-1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2},
}
VOCABULARIES = {"t5-small": 32_128, "flan-t5-base": 32_128, "qwen-small": 32_128, "qwen-1.5b": 151_936}
WORDS = 20_000


def save(name: str, folder: Path, dtype: torch.dtype, texts: Iterable[str] = ()) -> None:
    """A model of this size with random weights, which never ends a text by itself, and a tokenizer; for a T5 one that
    knows the words of `texts`, and w0, w1, ...
    """
    fast = _tokenizer_of_words(texts) if "t5" in name else _tokenizer_of_bytes()
    common = {"vocab_size": VOCABULARIES[name], "pad_token_id": 0, "eos_token_id": None, "bos_token_id": None}
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    if "t5" in name:
        model: Any = T5ForConditionalGeneration(T5Config(**common, **MODELS[name], decoder_start_token_id=0))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**common, **MODELS[name], max_position_embeddings=4096))
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    print(f"{name}: {sum(weights.numel() for weights in model.parameters()) / 1e6:.0f} million weights, {dtype}")


def _tokenizer_of_words(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    known = dict.fromkeys(["<pad>", "<unk>", *(f"w{number}" for number in range(WORDS)), *(word for text in texts for word in text.split())])
    words = {word: number for number, word in enumerate(list(known)[: min(VOCABULARIES["t5-small"], len(known))])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    # As those of a T5 have them; `generate` refuses a token_type_ids.
    names = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_input_names=names)


def _tokenizer_of_bytes() -> PreTrainedTokenizerFast:
    """Of the kind that transformers looks for beside a Qwen2, whatever the tokenizer's file says."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({"<pad>": 0, **{byte: number + 1 for number, byte in enumerate(alphabet)}}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")
