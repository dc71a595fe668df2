"""Work that asks a language model in steps, run in step with other work: all prompts of a step go to the engine in one call."""

from collections.abc import Awaitable, Callable, Generator, Sequence
from itertools import islice
from typing import TypeVar

from core.errors import EkibenError, GenerationFailed
from services.generator.engines.engine import Prompt, Written

T = TypeVar("T")

Answered = Written | EkibenError
"""What became of one prompt."""

Asking = Generator[Sequence[Prompt], Sequence[Answered], T]
"""Yields the prompts of a step and is sent what became of each, in order. What it raises as an EkibenError is its own result."""

Write = Callable[[Sequence[Prompt]], Awaitable[Sequence[Answered]]]


async def in_step(work: Sequence[Asking[T]], write: Write) -> list[T | EkibenError]:
    """The result of each of `work`, in order. One call of `write` a step holds the prompts of all that have not ended; what it raises is raised."""
    results: dict[int, T | EkibenError] = {}
    asked = _advance(work, dict.fromkeys(range(len(work))), results)
    while asked:
        prompts = [prompt for own in asked.values() for prompt in own]
        answers = await write(prompts) if prompts else []
        if len(answers) != len(prompts):
            raise GenerationFailed(f"the engine wrote {len(answers)} texts for {len(prompts)} prompts")
        rest = iter(answers)
        asked = _advance(work, {index: list(islice(rest, len(own))) for index, own in asked.items()}, results)
    return [results[index] for index in range(len(work))]


def _advance(
    work: Sequence[Asking[T]], answers: dict[int, Sequence[Answered] | None], results: dict[int, T | EkibenError]
) -> dict[int, Sequence[Prompt]]:
    """What each asks next. What has ended is added to `results`."""
    asked: dict[int, Sequence[Prompt]] = {}
    for index, answer in answers.items():
        try:
            asked[index] = work[index].send(answer)  # type: ignore[arg-type]
        except StopIteration as end:
            results[index] = end.value
        except EkibenError as error:
            results[index] = error
    return asked
