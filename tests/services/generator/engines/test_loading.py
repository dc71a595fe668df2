import json
from pathlib import Path

import pytest

from core.errors import InvalidSettings, ModelUnavailable
from tests.services.generator.engines.loading import Bench
from tests.tiny_models import BART_PROMPT_TOKENS, QWEN_POSITIONS, T5_PROMPT_TOKENS

NAMES_PREFIX = {"task_specific_params": {"summarization": {"prefix": "summarize: ", "num_beams": 4}}}


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


@pytest.mark.parametrize(
    ("changes", "prompts", "prefix"),
    [
        ({}, "plain.1", ""),
        (NAMES_PREFIX, "summarizer.1", "summarize: "),
        # FLAN-T5: it still names the prefixes of the first T5.
        ({**NAMES_PREFIX, "feed_forward_proj": "gated-gelu"}, "plain.1", "summarize: "),
    ],
)
def test_a_t5_gets_the_prompts_it_was_trained_with(changes: dict[str, object], prompts: str, prefix: str, tiny_t5: Path, tmp_path: Path) -> None:
    for file in tiny_t5.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with Bench("t5", tmp_path) as bench:
        assert (bench.engine.default_prompts, bench.engine.prefix) == (prompts, prefix)


@pytest.mark.parametrize(("kind", "prompts"), [("bart", "summarizer.1"), ("qwen", "chat.1")])
def test_other_families_get_the_prompts_that_they_follow(kind: str, prompts: str, request: pytest.FixtureRequest) -> None:
    with Bench(kind, request.getfixturevalue(f"tiny_{kind}")) as bench:
        assert (bench.engine.default_prompts, bench.engine.prefix) == (prompts, "")
