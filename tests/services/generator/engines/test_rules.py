"""A model's generation settings, as far as greedy decoding knows them: the same tokens as plain `generate` with the same settings."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, GenerationConfig

from services.generator.engines.engine import Written
from tests.services.generator.engines.loading import Bench, texts
from tests.services.generator.engines.test_conformance import prompt, some_prompts

SETTINGS: dict[str, dict[str, Any]] = {
    "penalty": {"repetition_penalty": 1.3},
    "ngrams": {"no_repeat_ngram_size": 2, "min_length": 20},
    "lengths": {"min_new_tokens": 12},
    "beams": {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True, "no_repeat_ngram_size": 3},
    "sampling": {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.1},
    "suppressed": {"suppress_tokens": [5, 6, 7], "begin_suppress_tokens": [8, 9, 10, 11, 12]},
    "forced": {"forced_bos_token_id": 6, "forced_eos_token_id": 4, "no_repeat_ngram_size": 3},
    "first": {"forced_bos_token_id": 0, "suppress_tokens": [2]},
    "words": {"bad_words_ids": [[5, 6], [7]]},
}


@pytest.mark.parametrize("name", SETTINGS)
async def test_rows_under_a_models_settings_write_what_generate_does(name: str, torch_bench: Bench, tmp_path: Path) -> None:
    folder = shutil.copytree(torch_bench.folder, tmp_path / name)
    own = GenerationConfig.from_pretrained(folder)
    own.update(**SETTINGS[name])
    own.save_pretrained(folder)
    with Bench(torch_bench.kind, folder) as ruled:
        # Shorter ones would have no room for the least that some settings ask for.
        prompts = [replace(one, max_new_tokens=25 + number) for number, one in enumerate(some_prompts(5, seed=8))]
        written = texts(await ruled.engine.write(prompts))
        assert written == [ruled.plain(one)[0] for one in prompts]


async def test_settings_change_what_is_written(torch_bench: Bench, tmp_path: Path) -> None:
    folder = shutil.copytree(torch_bench.folder, tmp_path / "suppressed")
    own = GenerationConfig.from_pretrained(folder)
    before = texts(await torch_bench.engine.write([prompt("Trains run.")]))
    ids = AutoTokenizer.from_pretrained(folder).encode(before[0], add_special_tokens=False)
    own.suppress_tokens = sorted({*(own.suppress_tokens or []), *ids})
    own.save_pretrained(folder)
    with Bench(torch_bench.kind, folder) as ruled:
        assert texts(await ruled.engine.write([prompt("Trains run.")])) != before


@pytest.mark.parametrize("kind", ["t5", "ctranslate2"])
async def test_a_summarizer_writes_under_the_settings_it_names_for_summarizing(kind: str, tiny_t5: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_t5, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    own = {"prefix": "summarize: ", "num_beams": 4, "min_length": 20, "no_repeat_ngram_size": 1}
    (folder / "config.json").write_text(json.dumps({**config, "task_specific_params": {"summarization": own}}))
    with Bench(kind, folder) as bench:
        (written,) = await bench.engine.write([prompt("Trains run.")])
        assert isinstance(written, Written)
        assert written.new_tokens >= 19
        words = bench.tokenizer.encode(written.text, add_special_tokens=False)
        assert len(set(words)) == len(words)
