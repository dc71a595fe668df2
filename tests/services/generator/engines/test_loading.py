import json
from pathlib import Path

import pytest

from core.errors import InvalidSettings, ModelUnavailable
from services.generator.engines.seq2seq import Seq2SeqEngine
from tests.services.generator.engines.loading import Bench
from tests.tiny_models import BART_PROMPT_TOKENS, QWEN_POSITIONS, T5_PROMPT_TOKENS


@pytest.mark.parametrize(("kind", "limit"), [("t5", T5_PROMPT_TOKENS), ("bart", BART_PROMPT_TOKENS), ("qwen", QWEN_POSITIONS - 40)])
def test_the_limit_of_prompts_is_the_models(kind: str, limit: int, request: pytest.FixtureRequest) -> None:
    with Bench(kind, request.getfixturevalue(f"tiny_{kind}")) as bench:
        assert bench.engine.max_prompt_tokens == limit


@pytest.mark.parametrize(("kind", "most"), [("bart", BART_PROMPT_TOKENS), ("qwen", QWEN_POSITIONS - 1)])
def test_more_new_tokens_than_the_model_has_positions_are_refused_at_load(kind: str, most: int, request: pytest.FixtureRequest) -> None:
    with Bench(kind, request.getfixturevalue(f"tiny_{kind}")) as bench:
        bench.load(max_new_tokens=most)
        with pytest.raises(InvalidSettings, match=f"max_new_tokens is {most + 1}"):
            bench.load(max_new_tokens=most + 1)


@pytest.mark.parametrize(("kind", "folder"), [("qwen", "tiny_t5"), ("t5", "tiny_qwen")])
def test_a_model_of_another_kind_is_refused(kind: str, folder: str, request: pytest.FixtureRequest) -> None:
    with Bench(kind, request.getfixturevalue(folder)) as bench, pytest.raises(ModelUnavailable, match="AutoModelFor"):
        bench.load()


def test_a_summarization_prefix_is_the_models(tiny_t5: Path, tmp_path: Path) -> None:
    with Bench("t5", tiny_t5) as bench:
        assert isinstance(bench.engine, Seq2SeqEngine)
        assert bench.engine.summarization_prefix == ""
    for file in tiny_t5.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["task_specific_params"] = {"summarization": {"prefix": "summarize: ", "num_beams": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with Bench("t5", tmp_path) as bench:
        assert isinstance(bench.engine, Seq2SeqEngine)
        assert bench.engine.summarization_prefix == "summarize: "
