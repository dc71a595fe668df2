"""What a language model did for one item: counted as its prompts are answered."""

from collections.abc import Iterable
from typing import TypeVar

from core.schemas import WritingStats
from services.generator.asking import Answered, Asking
from services.generator.engines.engine import Prompt, Read, TextEngine, Written

T = TypeVar("T")


class Tally:
    """Adds up texts; a prompt that failed counts nothing."""

    def __init__(self) -> None:
        self._prompts = self._prompt_tokens = self._new_tokens = 0
        self._read: Read | None = None

    def add(self, answers: Iterable[Answered]) -> None:
        """Count what was written."""
        for written in answers:
            if isinstance(written, Written):
                self._count(written.prompt_tokens, written.new_tokens, written.read)

    def add_stopped(self, engine: TextEngine, prompt: Prompt, text: str) -> None:
        """Count a stream that was closed after `text`, with its prompt's template: nobody is told how far the engine came."""
        empty, full = (engine.count_tokens(Prompt("", one, prompt.max_new_tokens)) for one in ("", text))
        self._count(engine.count_tokens(prompt), max(0, full - empty), None)

    def stats(self) -> WritingStats | None:
        """The sums; None where nothing was asked."""
        if not self._prompts:
            return None
        company = {"rows": self._read.rows, "tokens": self._read.tokens, "padding": round(self._read.padding, 4)} if self._read else {}
        return WritingStats.model_validate(
            {"prompts": self._prompts, "prompt_tokens": self._prompt_tokens, "new_tokens": self._new_tokens, **company}
        )

    def _count(self, prompt_tokens: int, new_tokens: int, read: Read | None) -> None:
        self._prompts += 1
        self._prompt_tokens += prompt_tokens
        self._new_tokens += new_tokens
        self._read = read


def tallied(work: Asking[T], tally: Tally) -> Asking[T]:
    """`work`, whose answers are counted on their way."""
    try:
        prompts = next(work)
        while True:
            answers = yield prompts
            tally.add(answers)
            prompts = work.send(answers)
    except StopIteration as end:
        value: T = end.value
        return value
