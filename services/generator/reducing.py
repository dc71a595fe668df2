"""Sources that don't fit a model's prompt together are composed in groups, and the answers again, as a tree, until what is left fits."""

from collections.abc import Callable, Sequence

from core.errors import EkibenError, InvalidRequest
from core.schemas import Source
from services.generator.asking import Answered, Asking
from services.generator.engines.engine import Prompt, TextEngine

Ask = Callable[[Sequence[Source], int], Prompt]
"""The prompt that composes sources into at most so many sentences."""

Read = Callable[[Sequence[Source], str, int], Sequence[Source]]
"""The sentences of the text written from sources, at most so many, as sources of the next level."""


_WAY_OUT = "lower ingestion.chunk_tokens or the number of passages, or take a model that reads longer prompts"


def reduced(sources: Sequence[Source], engine: TextEngine, ask: Ask, read: Read, max_sentences: int) -> Asking[Sequence[Source]]:
    """Sources whose prompt fits the engine: `sources` themselves, or what levels of compositions made of them.

    It ends, because a group of n becomes at most n/2 sources: after at most log2 of their number in levels, or when no two fit together.
    Raises InvalidRequest for a source that is too large alone.
    """
    while engine.count_tokens(ask(sources, max_sentences)) > engine.max_prompt_tokens:
        groups = _groups(sources, engine, lambda group: ask(group, max_sentences))
        limits = [min(max_sentences, len(group) // 2) for group in groups]
        if not any(limits):
            raise InvalidRequest(f"no two of {len(sources)} sources fit the {engine.max_prompt_tokens} tokens of a prompt together: {_WAY_OUT}")
        answers = iter((yield [ask(group, limit) for group, limit in zip(groups, limits, strict=True) if limit]))
        merged: list[Source] = []
        for group, limit in zip(groups, limits, strict=True):
            merged += _merged(group, next(answers), limit, read) if limit else group
        sources = merged
    return sources


def _merged(group: Sequence[Source], answer: Answered, limit: int, read: Read) -> Sequence[Source]:
    if isinstance(answer, EkibenError):
        raise answer
    return read(group, answer.text, limit)[:limit]


def _groups(sources: Sequence[Source], engine: TextEngine, ask: Callable[[Sequence[Source]], Prompt]) -> list[list[Source]]:
    """Groups that fit a prompt each, of neighbours where possible (first fit). Raises InvalidRequest for a source that fits none."""
    frame = engine.count_tokens(ask([]))
    room = engine.max_prompt_tokens - frame
    groups: list[tuple[int, list[Source]]] = []
    for number, source in enumerate(sources, 1):
        size = engine.count_tokens(ask([source])) - frame
        if size > room:
            message = f"source {number} of {len(sources)} alone makes a prompt of {frame + size} tokens, the model takes {engine.max_prompt_tokens}"
            raise InvalidRequest(f"{message}: {_WAY_OUT}")
        for index, (taken, group) in enumerate(groups):
            if taken + size <= room:
                groups[index] = (taken + size, [*group, source])
                break
        else:
            groups.append((size, [source]))
    return [part for _, group in groups for part in _fitting(group, engine, ask)]


def _fitting(group: list[Source], engine: TextEngine, ask: Callable[[Sequence[Source]], Prompt]) -> list[list[Source]]:
    """`group`, or parts of it: a text may have more tokens among others than alone."""
    if len(group) == 1 or engine.count_tokens(ask(group)) <= engine.max_prompt_tokens:
        return [group]
    middle = len(group) // 2
    return _fitting(group[:middle], engine, ask) + _fitting(group[middle:], engine, ask)
