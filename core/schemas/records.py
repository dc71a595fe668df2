"""Records of answers, and how an answer to the same question differs from the recorded one."""

from typing import Annotated, Literal

from pydantic import Field

from core.schemas.answers import Answer, AnswerRequest, Citation
from core.schemas.fields import Frozen, Setting


class AnswerRecord(Frozen):
    """An answer as it was returned, and what was asked. `replay_of` is the id of the answer that this one repeats."""

    id: str
    created_at: str
    replay_of: str | None = None
    request: AnswerRequest
    answer: Answer


class ConditionDifference(Frozen):
    """Something that the answer was made with has changed. `name` is the setting's, or the part of the generator; else the same as `kind`."""

    kind: Literal["version", "index_version", "encoder", "generator", "setting"]
    name: str
    before: Setting
    after: Setting


class PassageDifference(Frozen):
    """A passage came, went, stands at another rank (from 1), or has another text at its place (`changed`, whatever its ranks)."""

    kind: Literal["passage"] = "passage"
    change: Literal["gained", "lost", "moved", "changed"]
    collection: str
    chunk_id: str
    rank_before: int | None
    rank_after: int | None
    score_before: float | None
    score_after: float | None


class SentenceDifference(Frozen):
    """A sentence of the answer came, went, or stands at another place; places count from 0, as citations do."""

    kind: Literal["sentence"] = "sentence"
    change: Literal["gained", "lost", "moved"]
    text: str
    place_before: int | None
    place_after: int | None


class CitationDifference(Frozen):
    """A citation came or went."""

    kind: Literal["citation"] = "citation"
    change: Literal["gained", "lost"]
    citation: Citation


class OutcomeDifference(Frozen):
    """Another confidence, an answer in the place of an abstention or the other way round, a degraded answer, or another text without sentences."""

    kind: Literal["abstained", "degraded", "confidence", "answer"]
    before: Setting
    after: Setting


Difference = Annotated[
    ConditionDifference | PassageDifference | SentenceDifference | CitationDifference | OutcomeDifference, Field(discriminator="kind")
]


class Replay(Frozen):
    """A recorded answer and the one that the same request gets now. `identical` says that the answers are the same; the conditions, which stand
    first among the differences, may have changed all the same.
    """

    record: AnswerRecord
    answer: Answer
    identical: bool
    differences: tuple[Difference, ...]
