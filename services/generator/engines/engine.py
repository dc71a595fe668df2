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
class Written:
    """What a model wrote, why it stopped, and the tokens read and written."""

    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int
    new_tokens: int


class TextEngine(Protocol):
    """Writes greedily, so that a prompt's text depends neither on its batch nor on chance."""

    info: GeneratorInfo

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of the prompt as the model reads it, its template included."""

    @property
    def max_prompt_tokens(self) -> int:
        """Tokens that a prompt may have, room for what is written left aside."""

    async def write(self, prompts: Sequence[Prompt]) -> list[Written | EkibenError]:
        """One text a prompt, in order, or what is wrong with this prompt alone; what befalls all is raised."""

    def stream(self, prompt: Prompt) -> AsyncGenerator[str | Written, None]:
        """The text piece by piece as it is written, then all of it. Closing the generator ends the work within a step."""
