"""What an engine does: forward passes over token ids."""

from collections.abc import Callable, Sequence
from typing import Protocol

from core.vectors import Vector


def without_pause() -> None:
    """For a pass that nothing may interrupt."""


class Engine(Protocol):
    """Computes vectors. Not safe for concurrent calls: one pass at a time is what a device is best at."""

    name: str

    def take(self, lengths: Sequence[int]) -> list[int]:
        """Which of the sequences that wait, by their tokens and oldest first, share the next pass; the oldest is among them."""
        ...

    def forward(self, windows: Sequence[Sequence[int]], pause: Callable[[], None]) -> tuple[Vector, int]:
        """Unit vectors float32 `[len(windows), dim]` of token ids, and how many tokens were computed for them, padding counted.

        `pause` is called where something more urgent may be computed in between.
        """
        ...
