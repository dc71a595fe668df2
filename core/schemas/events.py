"""The events of a streamed answer: `event` is the name of the server-sent event, `data` what stands in it as JSON."""

from typing import Annotated, Literal

from pydantic import Field

from core.errors import ErrorBody
from core.schemas.answers import Answer, Citation, Summary
from core.schemas.fields import Frozen
from core.schemas.retrieval import Passage


class Retrieved(Frozen):
    """What was found. `id` is that of the answer; `degraded` and `notes` are the retrieval's."""

    id: str
    passages: tuple[Passage, ...]
    degraded: bool
    notes: tuple[str, ...]
    timings_ms: dict[str, float]


class IndexedSummary(Frozen):
    """The summary of the passage at place `index` of those found, from 0."""

    index: int
    summary: Summary


class Token(Frozen):
    """More of the answer's text: a few characters or a whole sentence."""

    text: str


class Cited(Frozen):
    """The answer's sentences and where they come from."""

    sentences: tuple[str, ...]
    citations: tuple[Citation, ...]


class RetrievedEvent(Frozen):
    """The passages are there; the first event."""

    event: Literal["retrieved"] = "retrieved"
    data: Retrieved


class SummaryEvent(Frozen):
    """A summary is done; one event a passage, in the order in which they are."""

    event: Literal["summary"] = "summary"
    data: IndexedSummary


class TokenEvent(Frozen):
    """The answer goes on. All `text`s together are `answer` of the last event."""

    event: Literal["token"] = "token"
    data: Token


class CitationsEvent(Frozen):
    """The answer is written, and its citations are checked."""

    event: Literal["citations"] = "citations"
    data: Cited


class DoneEvent(Frozen):
    """The answer as a whole, with its timings; the last event."""

    event: Literal["done"] = "done"
    data: Answer


class ErrorEvent(Frozen):
    """The answer can't be given after all; the last event."""

    event: Literal["error"] = "error"
    data: ErrorBody


AnswerEvent = Annotated[RetrievedEvent | SummaryEvent | TokenEvent | CitationsEvent | DoneEvent | ErrorEvent, Field(discriminator="event")]
