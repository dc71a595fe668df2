"""Prompts in the form that a chat model was trained on, which no text inside them can leave."""

import re
import uuid
from collections.abc import Sequence
from itertools import chain
from typing import Any

from jinja2.exceptions import TemplateError

from core.errors import ModelUnavailable
from services.generator.engines.engine import Prompt
from services.generator.engines.plain_text import PlainTokenizer


class ChatFrame:
    """The model's chat template, rendered once around placeholders.

    The template's own parts are tokenized with their marks; what a prompt says is tokenized apart, as plain text, so that it can't end its turn or
    begin another. Where the template refuses the system role, or leaves it out, its text goes before the user's; a model without a template reads
    both one after the other.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._plain = PlainTokenizer(tokenizer)
        self._parts: list[list[int] | str] = _parts(tokenizer)

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Token ids of each prompt, up to where the model's turn begins."""
        slots = [part for part in self._parts if isinstance(part, str)]
        texts = iter(self._plain.encode([_text(slot, prompt) for prompt in prompts for slot in slots]))
        return [list(chain.from_iterable(part if isinstance(part, list) else next(texts) for part in self._parts)) for _ in prompts]


def _text(slot: str, prompt: Prompt) -> str:
    return {"system": prompt.system, "user": prompt.user, "both": f"{prompt.system}\n\n{prompt.user}"}[slot]


def _parts(tokenizer: Any) -> list[list[int] | str]:
    """Fixed token ids, and the names of what goes between them."""
    if not tokenizer.chat_template:
        return [_opening(tokenizer), "both"]
    system, user = (f"slot{uuid.uuid4().hex}" for _ in range(2))
    rendered = _rendered(tokenizer, [{"role": "system", "content": system}, {"role": "user", "content": user}])
    names = {system: "system", user: "user"}
    if rendered is None or system not in rendered:
        rendered = _rendered(tokenizer, [{"role": "user", "content": user}])
        names = {user: "both"}
    if rendered is None or user not in rendered:
        raise ModelUnavailable("the model's chat template refuses a message of the user, or leaves its text out")
    parts = filter(None, re.split(f"({'|'.join(names)})", rendered))
    return [names[part] if part in names else tokenizer.encode(part, add_special_tokens=False) for part in parts]


def _rendered(tokenizer: Any, messages: list[dict[str, str]]) -> str | None:
    try:
        # Models that can think first (Qwen3) would spend all of a summary's tokens on it.
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False))
    except TemplateError:
        return None


def _opening(tokenizer: Any) -> list[int]:
    """The mark that texts begin with, where the model has one."""
    ids = tokenizer("a")["input_ids"]
    return [ids[0]] if ids and ids[0] == tokenizer.bos_token_id else []
