"""What became of each document of a run, or would become of it."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal, Self

from core.errors import ErrorInfo
from core.schemas import DocumentResult, DocumentState, Frozen

OutcomeState = DocumentState | Literal["deleted"]

_ORDER: tuple[OutcomeState, ...] = ("created", "updated", "unchanged", "deleted", "failed")


class Outcome(Frozen):
    """A document's result as the command shows it: a DocumentResult, or a deletion."""

    id: str
    state: OutcomeState
    chunks: int = 0
    error: ErrorInfo | None = None

    @classmethod
    def of(cls, result: DocumentResult) -> Self:
        """The outcome that the gateway or a loader tells."""
        return cls(id=result.id, state=result.state, chunks=result.chunks, error=result.error)


def describe_counts(counts: "Counter[OutcomeState]") -> str:
    """`3 created, 1 failed`: what there is of each state; empty where there is nothing."""
    return ", ".join(f"{counts[state]} {state}" for state in _ORDER if counts[state])


def counted(outcomes: Iterable[Outcome]) -> "Counter[OutcomeState]":
    """How many documents are in each state."""
    return Counter(outcome.state for outcome in outcomes)
