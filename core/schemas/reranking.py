"""Pairs of a question and a passage to score, their scores, and the reranker that makes them."""

from typing import Annotated

from pydantic import Field

from core.errors import ErrorInfo
from core.schemas.batches import BatchStats
from core.schemas.fields import Frozen


class RerankerInfo(Frozen):
    """What the running reranker is. `max_tokens` is its window: question, passage and special tokens together."""

    model: str
    max_tokens: int
    weights_sha256: str
    device: str
    dtype: str


class RerankItem(Frozen):
    """One pair to score."""

    query: str
    text: str


class RerankResult(Frozen):
    """How well a passage answers, in [0, 1], and what it cost; or the `error` that says why it has no score.

    `windows` is above 1 where the pair was longer than the model's window: the passage is then scored in overlapping windows, the best of which
    counts. `tokens` counts those of all windows, the question and the special ones in each.
    """

    score: Annotated[float, Field(ge=0, le=1)] | None = None
    tokens: int = 0
    windows: int = 0
    error: ErrorInfo | None = None
    batch: BatchStats | None = None
