import asyncio
import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from core.errors import EkibenError, InvalidRequest
from core.schemas import Source
from services.generator.asking import in_step
from services.generator.engines.engine import Prompt
from services.generator.reducing import Read, reduced
from tests.services.generator.samples import facts
from tests.services.generator.scripted import ScriptedEngine

FRAME = 2


def ask(sources: Sequence[Source], limit: int) -> Prompt:
    """A frame of two words around the sources."""
    return Prompt("begin", "\n".join([*(source.text for source in sources), "end"]), limit)


def read(group: Sequence[Source], text: str, limit: int) -> list[Source]:
    """A group's answer: its first sources, as many as asked for and one more, as a model does that doesn't listen."""
    supports = tuple(span for source in group for span in source.supports)
    return [Source(text=source.text, supports=supports) for source in group[: limit + 1]]


def shorten(group: Sequence[Source], text: str, limit: int) -> list[Source]:
    """A group's answer in one word."""
    return [Source(text=text, supports=group[0].supports)]


async def reduce(
    sources: Sequence[Source], room: int, max_sentences: int = 3, read: Read = read
) -> tuple[list[Source] | EkibenError, ScriptedEngine]:
    engine = ScriptedEngine(lambda prompt: "written", max_prompt_tokens=room + FRAME)
    (result,) = await in_step([reduced(sources, engine, ask, read, max_sentences)], engine.write)
    return (result if isinstance(result, EkibenError) else list(result)), engine


def of_sizes(sizes: Sequence[int]) -> tuple[Source, ...]:
    return facts(*(" ".join(["word"] * size) for size in sizes)).sources


async def test_sources_that_fit_are_left_alone() -> None:
    sources = of_sizes([3, 4])
    assert (await reduce(sources, 7))[0] == list(sources)
    assert (await reduce((), 7))[0] == []


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 40), st.integers(1, 5))
def test_it_ends_in_sources_that_fit_or_says_what_does_not(sizes: list[int], room: int, max_sentences: int) -> None:
    result, engine = asyncio.run(reduce(of_sizes(sizes), room, max_sentences))
    assert all(engine.count_tokens(prompt) <= engine.max_prompt_tokens for call in engine.calls for prompt in call)
    assert len(engine.calls) <= math.log2(len(sizes)) + len(sizes) / 2
    if isinstance(result, EkibenError):
        assert isinstance(result, InvalidRequest)
        assert sum(sizes) > room
    else:
        assert sum(len(source.text.split()) for source in result) <= room


async def test_the_groups_of_a_level_go_to_the_engine_together_and_the_levels_are_few() -> None:
    result, engine = await reduce(of_sizes([4] * 32), 16)
    assert isinstance(result, list)
    assert [len(call) for call in engine.calls] == [8, 4, 2]
    assert len(result) == 4


async def test_supports_are_carried_up() -> None:
    sources = of_sizes([4] * 8)
    result, _ = await reduce(sources, 16)
    assert isinstance(result, list)
    assert {span for source in result for span in source.supports} == {span for source in sources for span in source.supports}


async def test_a_source_too_large_for_its_neighbours_waits_until_there_is_room() -> None:
    result, engine = await reduce(of_sizes([9, 4, 4, 4]), 12, 1, shorten)
    assert isinstance(result, list)
    assert [len(source.text.split()) for source in result] == [9, 1]
    assert [len(call) for call in engine.calls] == [1]


async def test_a_source_too_large_alone_is_refused_and_named() -> None:
    result, engine = await reduce(of_sizes([2, 12, 2]), 11)
    assert isinstance(result, InvalidRequest)
    assert result.message.startswith("source 2 of 3 alone makes a prompt of 14 tokens, the model takes 13: lower ingestion.chunk_tokens")
    assert engine.calls == []


async def test_sources_of_which_no_two_fit_are_refused() -> None:
    result, engine = await reduce(of_sizes([6, 7, 8]), 11)
    assert isinstance(result, InvalidRequest)
    assert result.message.startswith("no two of 3 sources fit the 13 tokens of a prompt together")
    assert engine.calls == []


async def test_an_error_of_one_group_is_the_result() -> None:
    engine = ScriptedEngine(lambda prompt: "written", max_prompt_tokens=10)
    engine._write = lambda prompt: InvalidRequest("no")  # type: ignore[method-assign]
    (result,) = await in_step([reduced(of_sizes([4] * 4), engine, ask, read, 3)], engine.write)
    assert isinstance(result, InvalidRequest)
    assert result.message == "no"
