from collections.abc import Sequence

import pytest

from core.errors import DependencyUnavailable, EkibenError, GenerationFailed, InvalidRequest
from services.generator.asking import Answered, Asking, in_step
from services.generator.engines.engine import Prompt, Written


def prompt(text: str) -> Prompt:
    return Prompt("", text, 1)


class Echo:
    """Writes what it is asked; refuses `bad`."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    async def __call__(self, prompts: Sequence[Prompt]) -> list[Answered]:
        self.calls.append([one.user for one in prompts])
        return [InvalidRequest("bad") if one.user == "bad" else Written(one.user, "stop", 1, 1) for one in prompts]


def work(*steps: Sequence[str]) -> Asking[list[str]]:
    """Asks the texts of each step; its result is what came back in all."""
    seen: list[str] = []
    for step in steps:
        answers = yield [prompt(text) for text in step]
        for answer in answers:
            if isinstance(answer, EkibenError):
                raise answer
            seen.append(answer.text)
    return seen


async def test_each_step_of_all_is_one_call_and_each_gets_its_own_answers() -> None:
    echo = Echo()
    assert await in_step([work(["a"], ["b", "c"]), work(), work(["d", "e"]), work(["f"], ["g"], ["h"])], echo) == [
        ["a", "b", "c"], [], ["d", "e"], ["f", "g", "h"],
    ]  # fmt: skip
    assert echo.calls == [["a", "d", "e", "f"], ["b", "c", "g"], ["h"]]


async def test_an_error_of_one_is_its_result_and_harms_no_other() -> None:
    echo = Echo()
    first, second = await in_step([work(["bad"], ["never"]), work(["a"], ["b"])], echo)
    assert isinstance(first, InvalidRequest)
    assert second == ["a", "b"]
    assert echo.calls == [["bad", "a"], ["b"]]


async def test_nothing_to_ask_is_no_call() -> None:
    echo = Echo()
    assert await in_step([], echo) == []
    assert await in_step([work(), work([])], echo) == [[], []]
    assert echo.calls == []


async def test_what_befalls_all_is_raised() -> None:
    async def down(_: Sequence[Prompt]) -> list[Answered]:
        raise DependencyUnavailable("gone")

    with pytest.raises(DependencyUnavailable):
        await in_step([work(["a"])], down)


async def test_answers_of_the_wrong_number_are_given_to_nobody() -> None:
    async def short(prompts: Sequence[Prompt]) -> list[Answered]:
        return [Written("x", "stop", 1, 1)] * (len(prompts) - 1)

    with pytest.raises(GenerationFailed, match="1 texts for 2 prompts"):
        await in_step([work(["a"]), work(["b"])], short)
