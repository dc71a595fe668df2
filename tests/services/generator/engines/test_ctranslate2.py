import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from core.errors import GenerationFailed, InvalidSettings, ModelUnavailable
from services.model_source import weights_sha256
from tests.services.generator.engines.loading import Bench, texts
from tests.services.generator.engines.test_conformance import some_prompts

pytest.importorskip("ctranslate2")

from services.generator.engines.converting import converted

REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.fixture
def folder(tiny_t5: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_t5, tmp_path / "t5")


def with_settings(folder: Path, **settings: Any) -> Path:
    own = GenerationConfig.from_pretrained(folder)
    own.update(**settings)
    own.save_pretrained(folder)
    return folder


def test_a_model_is_converted_once_even_by_several_at_a_time(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: converted(folder, cache, "int8"), range(2))
    assert first == second
    assert list(cache.iterdir()) == [first]
    before = (first / "model.bin").stat()
    assert converted(folder, cache, "int8") == first
    assert (first / "model.bin").stat() == before
    assert converted(folder, cache, "float32") != first


@pytest.mark.slow
def test_processes_that_convert_at_the_same_time_leave_one_whole_model(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code = "import sys, pathlib, services.generator.engines.converting as c; c.converted(*map(pathlib.Path, sys.argv[1:]), 'int8')"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(folder), str(cache)], cwd=REPOSITORY) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert [path.name[0] for path in cache.iterdir()] == [weights_sha256(folder)[0]]


async def test_eight_bits_write_the_same_in_a_batch_as_alone(tiny_t5: Path) -> None:
    with Bench("ctranslate2", tiny_t5) as bench:
        engine = bench.load(quantization="int8")
        prompts = some_prompts(12, seed=9)
        assert texts(await engine.write(prompts)) == [texts(await engine.write([one]))[0] for one in prompts]
        assert engine.info.dtype == "int8"


@pytest.mark.parametrize(
    "settings",
    [{"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 2, "min_length": 20}, {"min_new_tokens": 12}, {"suppress_tokens": [0, 1, 2, 5, 6]}],
)
async def test_generation_settings_are_the_models(settings: dict[str, Any], folder: Path) -> None:
    with Bench("ctranslate2", with_settings(folder, **settings)) as bench:
        prompts = [one for one in some_prompts(12, seed=10) if one.max_new_tokens > 20]
        assert texts(await bench.engine.write(prompts)) == [bench.plain(one)[0] for one in prompts]


def test_settings_that_it_does_not_know_are_refused(folder: Path) -> None:
    with Bench("ctranslate2", with_settings(folder, forced_bos_token_id=5)) as bench, pytest.raises(ModelUnavailable, match="forced_bos_token_id"):
        bench.load()


def test_a_model_that_it_can_not_convert_is_refused_and_leaves_nothing_behind(tiny_bart: Path, tmp_path: Path) -> None:
    config = json.loads((tiny_bart / "config.json").read_text())
    assert "normalize_before" not in config
    with Bench("ctranslate2", tiny_bart) as bench:
        with pytest.raises(ModelUnavailable, match="can't convert"):
            bench.load(cache=tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []
        with pytest.raises(InvalidSettings, match="max_new_tokens"):
            bench.load(max_new_tokens=1000)


class Failing:
    """The real translator, which fails on more rows than `most`."""

    def __init__(self, translator: Any, most: int) -> None:
        self._translator = translator
        self._most = most

    def translate_batch(self, source: list[list[str]], **options: Any) -> Any:
        if len(source) > self._most:
            raise RuntimeError("no memory")
        return self._translator.translate_batch(source, **options)


async def test_a_batch_that_fails_is_tried_in_halves(tiny_t5: Path) -> None:
    with Bench("ctranslate2", tiny_t5) as bench:
        prompts = some_prompts(7, seed=11)
        engine = bench.load()
        translator = engine._runner._translator  # type: ignore[attr-defined]
        engine._runner._translator = Failing(translator, most=2)  # type: ignore[attr-defined]
        assert texts(await engine.write(prompts)) == [bench.plain(one)[0] for one in prompts]
        assert max(read.rows for read in bench.recorder.reads) <= 2
        engine._runner._translator = Failing(translator, most=0)  # type: ignore[attr-defined]
        assert {type(result) for result in await engine.write(prompts)} == {GenerationFailed}
