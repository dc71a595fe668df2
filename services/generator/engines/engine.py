"""The port that every language model implements, wherever it runs."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from core.errors import EkibenError
from core.schemas import GeneratorInfo


@dataclass(frozen=True)
class Prompt:
    """What a model is asked: `system` tells its task, `user` holds the question and the texts from documents, as data. A model without roles reads
    one after the other.
    """

    system: str
    user: str
    max_new_tokens: int


@dataclass(frozen=True)
class Read:
    """In what company a prompt was read: rows of the forward pass, their tokens, and the tokens computed with padding."""

    rows: int
    tokens: int
    padded_tokens: int

    @property
    def padding(self) -> float:
        """Share of padding in what was computed, 0 to 1."""
        return 1 - self.tokens / self.padded_tokens if self.padded_tokens else 0.0


@dataclass(frozen=True)
class Written:
    """What a model wrote, why it stopped, the tokens read and written, and the company it was read in, where the engine can tell."""

    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int
    new_tokens: int
    read: Read | None = None


class TextEngine(Protocol):
    """Writes greedily, so that a prompt's text depends neither on its batch nor on chance."""

    info: GeneratorInfo
    default_prompts: str
    """The prompts that go with this kind of model, by name."""
    prefix: str
    """What the model was given before a text to summarize when it was trained; "" for most."""

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of the prompt as the model reads it, its template included."""

    @property
    def max_prompt_tokens(self) -> int:
        """Tokens that a prompt may have, room for what is written left aside."""

    async def is_ready(self, timeout_s: float) -> bool:
        """Whether the model can be asked; a model in this process always can."""

    async def write(self, prompts: Sequence[Prompt]) -> list[Written | EkibenError]:
        """One text a prompt, in order, or what is wrong with this prompt alone; what befalls all is raised."""

    def stream(self, prompt: Prompt) -> AsyncGenerator[str | Written, None]:
        """The text piece by piece as it is written, then all of it. Closing the generator ends the work within a step."""


class Observer(Protocol):
    """Is told what an engine computes, for metrics; called from the model's thread, except `first_token`."""

    def read(self, read: Read, seconds: float) -> None:
        """Prompts were read in one forward pass."""

    def stepped(self, rows: int, seconds: float) -> None:
        """A token was written for each of `rows` running sequences."""

    def ended(self, new_tokens: int) -> None:
        """A sequence has ended, by itself or dropped, after `new_tokens`."""

    def first_token(self, seconds: float) -> None:
        """A stream's first token came `seconds` after it was asked for."""
