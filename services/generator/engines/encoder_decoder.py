"""What engines over encoder-decoders (T5, BART, Pegasus, ...) have in common, whatever runs the model."""

from collections.abc import Sequence
from typing import Any

from transformers import GenerationConfig

from core.errors import InvalidSettings
from core.schemas import GeneratorInfo
from services.generator.engines.engine import Observer, Prompt
from services.generator.engines.loading import smallest
from services.generator.engines.plain_text import PlainTokenizer
from services.generator.engines.requests import Runner
from services.generator.engines.running import ScheduledEngine

# Families whose published models summarize, translate or fill gaps, and follow no instruction.
_WITHOUT_INSTRUCTIONS = {"bart", "bigbird_pegasus", "led", "longt5", "mbart", "pegasus", "pegasus_x", "prophetnet"}
# Generation settings that greedy decoding knows; see `services.generator.engines.rules`.
_GREEDY = ("min_length", "no_repeat_ngram_size", "repetition_penalty")


class EncoderDecoderEngine(ScheduledEngine):
    """Reads `system` and `user` one after the other; there are no roles. `config` is the model's, of transformers."""

    def __init__(self, runner: Runner, config: Any, tokenizer: Any, *, info: GeneratorInfo, max_new_tokens: int, observer: Observer) -> None:
        super().__init__(runner, tokenizer, info=info, max_new_tokens=max_new_tokens, observer=observer)
        self.prefix = str(_summarization(config).get("prefix") or "")
        self.default_prompts = "summarizer.1" if _only_summarizes(config) else "plain.1"
        named = [getattr(config, key, None) for key in ("max_position_embeddings", "max_encoder_position_embeddings", "n_positions")]
        self._max_prompt_tokens = smallest([*named, tokenizer.model_max_length])
        self._plain = PlainTokenizer(tokenizer)

    @property
    def max_prompt_tokens(self) -> int:
        """The smallest limit that the model or its tokenizer names."""
        return self._max_prompt_tokens

    def _encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        texts = [f"{prompt.system}\n\n{prompt.user}" if prompt.system else prompt.user for prompt in prompts]
        return self._plain.encode(texts, framed=True)


def require_positions(config: Any, name: str, max_new_tokens: int) -> None:
    """Raise InvalidSettings where the decoder has no positions for so many tokens. They are as many as the encoder's; T5's are relative, and have
    no end.
    """
    positions = smallest([getattr(config, "max_position_embeddings", None), getattr(config, "max_decoder_position_embeddings", None)])
    if max_new_tokens > positions:
        raise InvalidSettings(f"generator.max_new_tokens is {max_new_tokens}, but {name} has {positions} positions for what it writes")


def summarizing(settings: GenerationConfig, config: Any) -> GenerationConfig:
    """`settings`, the model's own, with those that `config` names for summarizing where it does nothing else. What concerns beams stays out."""
    named = _summarization(config)
    if _only_summarizes(config):
        settings.update(**{key: named[key] for key in _GREEDY if key in named})
    return settings


def _only_summarizes(config: Any) -> bool:
    # T5 as first published knows its tasks by prefixes; what came of its second version (FLAN-T5, gated) still names them, but follows instructions.
    if config.model_type == "t5":
        return bool(_summarization(config) and config.feed_forward_proj == "relu")
    return config.model_type in _WITHOUT_INSTRUCTIONS


def _summarization(config: Any) -> dict[str, Any]:
    """What a model trained on several tasks needs for this one: `prefix` ("summarize: ") and generation settings."""
    tasks = getattr(config, "task_specific_params", None) or {}
    return dict(tasks.get("summarization") or {})
