"""The scheduler over a decoder that computes its tokens from all it has read, so that a lost, doubled or mixed-up token shows at once."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import GenerationFailed, NotReady
from services.generator.engines.engine import Read
from services.generator.engines.requests import Cohort, Request
from services.generator.engines.scheduler import MAX_COHORTS, Scheduler
from tests.services.generator.engines.loading import Recorder

STOP = 0


def next_token(history: Sequence[int]) -> int:
    """Depends on every token and its place; about one in 13 stops."""
    return (31 * sum((place * place + 1) * token for place, token in enumerate(history)) + 7 * len(history)) % 101 % 13


def text_of(prompt: Sequence[int], max_new_tokens: int) -> list[int]:
    written: list[int] = []
    while len(written) < max_new_tokens and STOP not in written:
        written.append(next_token([*prompt, *written]))
    return written


@dataclass(eq=False)
class SumCohort:
    decoder: "SumDecoder"
    requests: list[Request]
    # What the cache of a model would hold: all but the newest token.
    held: list[list[int]]

    def step(self) -> list[int]:
        self.decoder.called(self.requests)
        for held, request in zip(self.held, self.requests, strict=True):
            held.append(request.written[-1])
        return [next_token(held) for held in self.held]

    def keep(self, rows: Sequence[int]) -> None:
        self.requests = [self.requests[row] for row in rows]
        self.held = [self.held[row] for row in rows]

    def absorb(self, other: Cohort) -> bool:
        if not self.decoder.absorbs:
            return False
        assert isinstance(other, SumCohort)
        self.decoder.called(other.requests)
        self.requests, self.held = [*self.requests, *other.requests], [*self.held, *other.held]
        return True


@dataclass
class SumDecoder:
    absorbs: bool = True
    fails: Callable[[Sequence[Request]], Exception | None] = lambda _: None
    stop_tokens: frozenset[int] = frozenset({STOP})
    calls: int = 0
    order: list[int] = field(default_factory=list)
    forgotten: int = 0

    def group_of(self, request: Request) -> object:
        return None if self.absorbs else len(request.written)

    def read(self, requests: Sequence[Request]) -> tuple[SumCohort, list[int], Read]:
        self.called(requests)
        self.order += [request.number for request in requests]
        held = [[*request.prompt, *request.written] for request in requests]
        longest = max(map(len, held))
        return SumCohort(self, list(requests), held), [next_token(row) for row in held], Read(len(held), sum(map(len, held)), longest * len(held))

    def called(self, requests: Sequence[Request]) -> None:
        self.calls += 1
        if error := self.fails(requests):
            raise error

    def forget(self) -> None:
        self.forgotten += 1


class Asked:
    """A request, what it was told, and the wait for its end."""

    def __init__(self, prompt: Sequence[int], max_new_tokens: int, then: Callable[[int], None] = lambda _: None) -> None:
        self.told: list[int] = []
        self.ends = 0
        self.ended = threading.Event()
        self.request = Request(tuple(prompt), max_new_tokens, on_end=self._end, on_token=lambda token: (self.told.append(token), then(token))[0])

    def _end(self, request: Request) -> None:
        assert request is self.request
        self.ends += 1
        self.ended.set()

    @property
    def is_right(self) -> bool:
        right = text_of(self.request.prompt, self.request.max_new_tokens)
        finish = "stop" if STOP in right else "length"
        return (self.told, self.request.written, self.request.finish, self.request.error) == (right, right, finish, None)


@contextmanager
def scheduling(decoder: SumDecoder, recorder: Recorder | None = None, **bounds: int) -> Iterator[Scheduler]:
    settings = {"max_running": 8, "kv_tokens": 10_000, "max_batch_tokens": 100, **bounds}
    scheduler = Scheduler(decoder, observer=recorder or Recorder(), name="sums", **settings)
    try:
        yield scheduler
    finally:
        scheduler.close()
        assert not scheduler._thread.is_alive()


def finish(scheduler: Scheduler, asked: Sequence[Asked]) -> None:
    scheduler.submit(one.request for one in asked)
    for one in asked:
        assert one.ended.wait(10)


prompts = st.tuples(st.lists(st.integers(1, 12), min_size=1, max_size=20), st.integers(1, 20))


@settings(deadline=None)
@given(
    asked=st.lists(st.tuples(prompts, st.integers(0, 3)), max_size=30),
    absorbs=st.booleans(),
    failing=st.sets(st.integers(1, 60), max_size=6),
    max_running=st.integers(1, 6),
    kv_tokens=st.integers(1, 200),
)
def test_whatever_joins_leaves_and_fails_every_text_is_right(
    asked: list[tuple[tuple[list[int], int], int]], absorbs: bool, failing: set[int], max_running: int, kv_tokens: int
) -> None:
    decoder = SumDecoder(absorbs)
    decoder.fails = lambda _: torch.OutOfMemoryError("none left") if decoder.calls in failing else None
    recorder = Recorder()
    with scheduling(decoder, recorder, max_running=max_running, kv_tokens=kv_tokens) as scheduler:
        all_asked: list[Asked] = []
        for (prompt, limit), drop_after in asked:
            one = Asked(prompt, limit)
            if drop_after:
                # Dropped by its reader after so many tokens.
                one.request.on_token = _dropping(scheduler, one, drop_after)
            all_asked.append(one)
        finish(scheduler, all_asked)
    assert [one.ends for one in all_asked] == [1] * len(asked)
    for one, (_, drop_after) in zip(all_asked, asked, strict=True):
        refused = isinstance(one.request.error, GenerationFailed) and bool(failing)
        right = text_of(one.request.prompt, one.request.max_new_tokens)
        cut_off = one.request.cancelled and one.told == right[: len(one.told)] and len(one.told) == drop_after
        assert one.is_right or refused or cut_off
    assert all(rows <= max_running for rows in recorder.steps)
    assert sum(recorder.ends) == sum(len(one.told) for one in all_asked)


def _dropping(scheduler: Scheduler, one: Asked, after: int) -> Callable[[int], None]:
    def tell(token: int) -> None:
        one.told.append(token)
        if len(one.told) == after:
            scheduler.cancel([one.request])

    return tell


@settings(deadline=None, max_examples=50)
@given(st.lists(prompts, min_size=1, max_size=30))
def test_prompts_are_read_in_the_order_they_came_as_far_as_they_are_let_in_together(asked: list[tuple[list[int], int]]) -> None:
    decoder = SumDecoder()
    with scheduling(decoder, max_running=1) as scheduler:
        finish(scheduler, [Asked(*one) for one in asked])
    assert decoder.order == list(range(len(asked)))


@settings(deadline=None, max_examples=50)
@given(st.lists(prompts, min_size=1, max_size=30), st.integers(30, 200), st.booleans())
def test_the_cache_stays_within_its_bound_unless_one_prompt_alone_is_over_it(
    asked: list[tuple[list[int], int]], kv_tokens: int, absorbs: bool
) -> None:
    seen: list[tuple[int, int]] = []
    decoder = SumDecoder(absorbs)
    with scheduling(decoder, kv_tokens=kv_tokens) as scheduler:

        def measure(_: Sequence[Request]) -> None:
            live = scheduler._live()
            seen.append((len(live), max((request.most_tokens for request in live), default=0)))

        decoder.fails = measure
        finish(scheduler, [Asked(*one) for one in asked])
    assert all(rows <= 1 or rows * longest <= kv_tokens for rows, longest in seen)


def test_a_late_request_is_served_beside_those_that_run() -> None:
    decoder = SumDecoder()
    late = Asked([5, 5], 3)
    with scheduling(decoder, max_running=2) as scheduler:
        endless = Asked(_endless_prompt(), 500, then=lambda _: None if late.request.number else scheduler.submit([late.request]))
        finish(scheduler, [endless])
        assert late.is_right
        assert endless.is_right
    assert decoder.calls < 510


def _endless_prompt() -> list[int]:
    return next(
        [first, second, third]
        for first in range(1, 13)
        for second in range(1, 13)
        for third in range(1, 13)
        if len(text_of([first, second, third], 500)) > 30
    )


def test_nobody_waits_for_ever_behind_a_stream_of_newcomers() -> None:
    """A large prompt that has to wait for room is not passed by the small ones behind it."""
    decoder = SumDecoder()
    with scheduling(decoder, max_running=4, kv_tokens=60) as scheduler:
        asked = [Asked([1, 2], 10) for _ in range(6)] + [Asked([3] * 40, 15)] + [Asked([1, 2], 10) for _ in range(20)]
        finish(scheduler, asked)
    assert all(one.is_right for one in asked)
    large = decoder.order.index(6)
    assert large == 6


def test_cohorts_that_can_not_merge_are_few_and_large() -> None:
    decoder = SumDecoder(absorbs=False)
    recorder = Recorder()
    with scheduling(decoder, recorder, max_running=64) as scheduler:
        hold = threading.Event()
        first = Asked(_endless_prompt(), 20, then=lambda _: hold.wait(5) and None)
        others = [Asked([4, number % 11 + 1], 20) for number in range(40)]
        scheduler.submit([first.request])
        for one in others:
            scheduler.submit([one.request])
        hold.set()
        for one in [first, *others]:
            assert one.ended.wait(10)
        assert all(one.is_right for one in [first, *others])
    assert len(recorder.reads) <= MAX_COHORTS


def test_after_a_failure_half_as_many_run_and_then_more_again() -> None:
    decoder, recorder = SumDecoder(), Recorder()
    failed_after: list[int] = []

    def fail_once(requests: Sequence[Request]) -> Exception | None:
        if failed_after or len(requests) < 6 or not all(request.written for request in requests):
            return None
        failed_after.append(len(recorder.steps))
        return torch.OutOfMemoryError("none left")

    decoder.fails = fail_once
    with scheduling(decoder, recorder, max_running=8, max_batch_tokens=1000) as scheduler:
        asked = [Asked([7, number % 12 + 1, 3], 20) for number in range(60)]
        finish(scheduler, asked)
        assert scheduler._limit == 8
    assert all(one.is_right for one in asked)
    (failure,) = failed_after
    assert recorder.steps[failure] <= 4
    assert max(recorder.steps[failure:]) == 8
    assert decoder.forgotten == 1


def test_what_the_model_fails_on_is_refused_and_the_rest_goes_on() -> None:
    decoder = SumDecoder()
    decoder.fails = lambda requests: KeyError("x") if any(request.prompt[0] == 9 for request in requests) else None
    with scheduling(decoder) as scheduler:
        asked = [Asked([9 if number == 5 else 8, number % 12 + 1], 20) for number in range(12)]
        finish(scheduler, asked)
    assert [one.is_right for one in asked] == [number != 5 for number in range(12)]
    assert isinstance(asked[5].request.error, GenerationFailed)
    assert "KeyError" in asked[5].request.error.message


def test_closing_fails_what_runs_and_what_waits() -> None:
    with scheduling(SumDecoder(), max_running=1) as scheduler:
        hold = threading.Event()
        asked = [Asked(_endless_prompt(), 30, then=lambda _: hold.wait(5) and None), Asked([1], 5)]
        scheduler.submit(one.request for one in asked)
        closing = threading.Thread(target=scheduler.close)
        closing.start()
        hold.set()
        closing.join()
        assert all(isinstance(one.request.error, NotReady) for one in asked)
        with pytest.raises(NotReady):
            scheduler.submit([])
