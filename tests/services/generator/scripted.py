"""An engine that reads its prompts and writes by rules, so that tests know what a model would have written."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence

from core.errors import EkibenError, InvalidRequest
from core.schemas import GeneratorInfo
from services.generator.engines.engine import Prompt, Written

Script = Callable[[Prompt], str]


def quote_sources(prompt: Prompt) -> str:
    """Each source of a prompt as a sentence, with its marker where the prompt numbers it; of a passage its text as it is shown."""
    numbered = re.findall(r"^\[(\d+)\] (.*)$", prompt.user, re.MULTILINE)
    listed = re.findall(r"^- (.*)$", prompt.user, re.MULTILINE)
    passage = re.search(r"^(?:<passage>\n  |Text: )(.*)$", prompt.user, re.MULTILINE)
    return " ".join([*(f"{text} [{number}]" for number, text in numbered), *listed, *([passage[1]] if passage else [])])


class ScriptedEngine:
    """Counts words as tokens; streams `piece` characters at a time. `calls` has the prompts of each call, `steps` how many pieces were asked for."""

    default_prompts = "chat.1"
    prefix = ""

    def __init__(self, script: Script = quote_sources, *, max_prompt_tokens: int = 280, piece: int = 3) -> None:
        self.info = GeneratorInfo(backend="scripted", model="rules", device="cpu")
        self.calls: list[list[Prompt]] = []
        self.steps = 0
        self.open = 0
        self._script = script
        self._max_prompt_tokens = max_prompt_tokens
        self._piece = piece

    def count_tokens(self, prompt: Prompt) -> int:
        return len(f"{prompt.system} {prompt.user}".split())

    @property
    def max_prompt_tokens(self) -> int:
        return self._max_prompt_tokens

    async def write(self, prompts: Sequence[Prompt]) -> list[Written | EkibenError]:
        self.calls.append(list(prompts))
        return [self._write(prompt) for prompt in prompts]

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Written, None]:
        self.calls.append([prompt])
        written = self._write(prompt)
        if isinstance(written, EkibenError):
            raise written
        self.open += 1
        try:
            for start in range(0, len(written.text), self._piece):
                await asyncio.sleep(0)
                self.steps += 1
                yield written.text[start : start + self._piece]
            yield written
        finally:
            self.open -= 1

    def _write(self, prompt: Prompt) -> Written | EkibenError:
        tokens = self.count_tokens(prompt)
        if tokens > self.max_prompt_tokens:
            return InvalidRequest(f"the prompt has {tokens} tokens, the model takes {self.max_prompt_tokens}")
        text = self._script(prompt)
        return Written(text, "stop", tokens, len(text.split()))
