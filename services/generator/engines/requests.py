"""A prompt on its way through the scheduler, and the port of the models that it runs."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from core.errors import EkibenError
from services.generator.engines.engine import Read


@dataclass(eq=False)
class Request:
    """What is read and what has been written. The model's thread alone changes it, but for `cancelled`, which anybody may set.

    `on_token` and `on_end` are called in the model's thread and must not block.
    """

    prompt: tuple[int, ...]
    max_new_tokens: int
    on_end: Callable[["Request"], None]
    on_token: Callable[[int], None] | None = None
    written: list[int] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None
    error: EkibenError | None = None
    cancelled: bool = False
    read: Read | None = None
    number: int = 0
    failed_at: int | None = None
    submitted: float = field(default_factory=time.perf_counter)

    @property
    def ended(self) -> bool:
        """Whether all is written, or nothing more can be."""
        return self.finish is not None or self.error is not None

    @property
    def most_tokens(self) -> int:
        """Tokens it may come to hold in the cache."""
        return len(self.prompt) + self.max_new_tokens


class Cohort(Protocol):
    """Sequences that are decoded together, with the keys and values of what they have read and written."""

    requests: list[Request]

    def step(self) -> list[int]:
        """The next token of each request, whose last one is read."""

    def keep(self, rows: Sequence[int]) -> None:
        """Let go of all rows but these, in this order."""

    def absorb(self, other: "Cohort") -> bool:
        """Take in the rows of `other` (which is of no use afterwards); False where they can't be decoded in one pass, and nothing was changed."""


class Decoder(Protocol):
    """A model that reads prompts and writes greedily. Its calls come from one thread."""

    stop_tokens: frozenset[int]

    def group_of(self, request: Request) -> object:
        """Requests may be read in one pass where this is equal."""

    def read(self, requests: Sequence[Request]) -> tuple[Cohort, list[int], Read]:
        """Read the prompts, and what was written already, in one pass: a cohort, the next token of each, and what it took."""

    def forget(self) -> None:
        """Hand memory that nothing uses back to the device."""


class Runner(Protocol):
    """Runs requests in a thread of its own."""

    def submit(self, requests: Iterable[Request]) -> None:
        """Queue `requests`; each ends with a call of its `on_end`. Raises NotReady after `close`."""

    def cancel(self, requests: Iterable[Request]) -> None:
        """Have `requests` dropped before the next step; those that have ended are passed over."""

    def close(self) -> None:
        """End the thread; requests that have not ended fail with NotReady."""
