"""The port that every backend of the Generator implements."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from core.schemas import GenerationEvent, GenerationItem, GenerationResult, GeneratorInfo


class Backend(Protocol):
    """Writes summaries and answers for a batch of items: as many results as items, in order.

    An item that can't be served gets a result with `error`. Raising fails the call; the service then tries the items one by one, so that what
    was wrong with one does not reach the others.
    """

    batches_itself: bool
    """Whether items given one by one, at the same time, share batches all the same: then each may come and go alone."""

    @property
    def info(self) -> GeneratorInfo:
        """What this backend is."""

    async def is_ready(self, timeout_s: float) -> bool:
        """Whether what the backend needs elsewhere answers within `timeout_s`."""

    async def summarize(self, items: Sequence[GenerationItem]) -> Sequence[GenerationResult]:
        """What the passage of each item (its one source) says about the question."""

    async def compose(self, items: Sequence[GenerationItem]) -> Sequence[GenerationResult]:
        """An answer from the sources of each item, which are sentences of summaries."""

    def stream(self, item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
        """`compose` of one item as it is written; its last event holds what `compose` would return, an error included. Closing it ends the work."""
