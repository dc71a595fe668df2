import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DependencyUnavailable
from core.schemas import GenerationItem, GenerationResult, Sentence
from services.generator.isolation import run_isolated
from tests.services.generator.samples import item


class Fragile:
    """Echoes questions; breaks on those that say so."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.calls: list[int] = []
        self._failure = failure or RuntimeError("CUDA error")

    async def __call__(self, items: Sequence[GenerationItem]) -> list[GenerationResult]:
        self.calls.append(len(items))
        if any(one.question == "poison" for one in items):
            raise self._failure
        kept = [one for one in items if one.question != "swallowed"]
        return [GenerationResult(sentences=(Sentence(text=one.question),)) for one in kept]


def _asking(questions: Sequence[str]) -> list[GenerationItem]:
    return [item("x", question=question) for question in questions]


def _outcome(result: GenerationResult) -> str:
    return result.error.code if result.error else result.text


@given(st.lists(st.sampled_from(["a", "b", "c", "poison", "swallowed"]), min_size=1, max_size=20))
async def test_what_is_wrong_with_one_item_stays_with_it(questions: list[str]) -> None:
    results = await run_isolated(Fragile(), _asking(questions))
    assert [_outcome(result) for result in results] == [
        "generation_failed" if question in ("poison", "swallowed") else question for question in questions
    ]


@pytest.mark.parametrize("place", range(17))
async def test_a_poison_among_sixteen_good_items_costs_few_calls(place: int) -> None:
    work = Fragile()
    await run_isolated(work, _asking([*"abcdefghijklmnop"[:place], "poison", *"abcdefghijklmnop"[place:]]))
    assert len(work.calls) <= 2 * math.ceil(math.log2(17)) + 1


async def test_a_good_batch_is_one_call() -> None:
    work = Fragile()
    assert [_outcome(result) for result in await run_isolated(work, _asking("abc"))] == ["a", "b", "c"]
    assert work.calls == [3]


async def test_an_error_of_ours_reaches_every_item_at_once() -> None:
    work = Fragile(DependencyUnavailable("the Embedder can't be reached"))
    results = await run_isolated(work, _asking(["a", "poison", "b"]))
    assert [_outcome(result) for result in results] == ["dependency_unavailable"] * 3
    assert work.calls == [3]


async def test_the_message_names_the_fault_but_no_text_of_a_user() -> None:
    (result,) = await run_isolated(Fragile(ValueError("the user's text")), _asking(["poison"]))
    assert result.error is not None
    assert result.error.message == "the backend failed on this item (ValueError)"


async def test_what_ends_the_process_is_not_held_up() -> None:
    with pytest.raises(KeyboardInterrupt):
        await run_isolated(Fragile(KeyboardInterrupt()), _asking(["poison"]))  # type: ignore[arg-type]
