"""What engines over encoder-decoders (T5, BART, Pegasus, ...) have in common, whatever runs the model."""

from collections.abc import Sequence
from typing import Any

from core.errors import InvalidSettings
from core.schemas import GeneratorInfo
from services.generator.engines.engine import Observer, Prompt
from services.generator.engines.loading import smallest
from services.generator.engines.plain_text import PlainTokenizer
from services.generator.engines.requests import Runner
from services.generator.engines.running import ScheduledEngine


class EncoderDecoderEngine(ScheduledEngine):
    """Reads `system` and `user` one after the other; there are no roles. `config` is the model's, of transformers."""

    def __init__(self, runner: Runner, config: Any, tokenizer: Any, *, info: GeneratorInfo, max_new_tokens: int, observer: Observer) -> None:
        super().__init__(runner, tokenizer, info=info, max_new_tokens=max_new_tokens, observer=observer)
        self.summarization_prefix = _summarization_prefix(config)
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


def _summarization_prefix(config: Any) -> str:
    """What a model trained on several tasks (T5: "summarize: ") was given before a text to summarize; "" for the others."""
    tasks = getattr(config, "task_specific_params", None) or {}
    return str(tasks.get("summarization", {}).get("prefix") or "")
