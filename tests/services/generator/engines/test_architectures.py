"""Other families of models: learned, rotary, relative and no positions, sliding windows. Each writes in a batch what plain `generate` writes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MT5Config,
    PegasusConfig,
)

from core.errors import ModelUnavailable
from tests.services.generator.engines.loading import Bench, texts
from tests.services.generator.engines.test_conformance import some_prompts

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512}
ROTARY = {**SIZES, "num_key_value_heads": 2, "initializer_range": 0.5}
DECODERS: dict[str, Any] = {
    "llama": (LlamaConfig, ROTARY),
    "mistral-window": (MistralConfig, {**ROTARY, "sliding_window": 16}),
    "gemma2-window": (Gemma2Config, {**ROTARY, "sliding_window": 16, "head_dim": 8, "tie_word_embeddings": False}),
    "gpt2": (GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.5}),
    "bloom": (BloomConfig, {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.5}),
}
ENCODER_DECODERS: dict[str, Any] = {
    "mt5": (MT5Config, {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "initializer_factor": 4.0}),
    "pegasus": (
        PegasusConfig,
        {
            "d_model": 32,
            **{f"{side}_{part}": size for side in ("encoder", "decoder") for part, size in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 64))},
            "max_position_embeddings": 256,
            "init_std": 1.0,
        },
    ),
}


def saved(kind: Any, sizes: dict[str, Any], auto: Any, tokenizers: Path, folder: Path) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(str(tokenizers))
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    start = {"decoder_start_token_id": tokenizer.pad_token_id} if auto is AutoModelForSeq2SeqLM else {}
    torch.manual_seed(5)
    auto.from_config(kind(**sizes, **ends, **start, vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


async def check(kind: str, folder: Path) -> None:
    with Bench(kind, folder) as bench:
        prompts = some_prompts(8, seed=12)
        # Half of the prompts at a time, so that rows join and leave.
        engine = bench.load(max_running=4)
        expected = [bench.plain(one)[0] for one in prompts]
        assert texts(await engine.write(prompts)) == expected
        assert len(set(expected)) > 2


@pytest.mark.parametrize("name", DECODERS)
async def test_decoders(name: str, tiny_qwen: Path, tmp_path: Path) -> None:
    await check("qwen", saved(*DECODERS[name], AutoModelForCausalLM, tiny_qwen, tmp_path))


@pytest.mark.parametrize("name", ENCODER_DECODERS)
async def test_encoder_decoders(name: str, tiny_t5: Path, tmp_path: Path) -> None:
    await check(name, saved(*ENCODER_DECODERS[name], AutoModelForSeq2SeqLM, tiny_t5, tmp_path))


def test_a_model_with_a_state_instead_of_keys_and_values_is_refused(tiny_qwen: Path, tmp_path: Path) -> None:
    from transformers import MambaConfig

    folder = saved(MambaConfig, {"hidden_size": 32, "num_hidden_layers": 1, "state_size": 4}, AutoModelForCausalLM, tiny_qwen, tmp_path)
    with Bench("qwen", folder) as bench, pytest.raises(ModelUnavailable, match="attention in every layer"):
        bench.load()
