"""Answers read as they come: server-sent events, as the gateway writes them, to the events of `core.schemas.events`."""

import json
from collections.abc import Iterable, Iterator

from pydantic import TypeAdapter, ValidationError

from core.errors import DependencyUnavailable, Internal, error_from
from core.schemas import AnswerEvent, DoneEvent, ErrorEvent

_EVENT: TypeAdapter[AnswerEvent] = TypeAdapter(AnswerEvent)


def answer_events(lines: Iterable[str]) -> Iterator[AnswerEvent]:
    """The events in the lines of a stream, `done` last.

    Raises the error that the stream ends with, DependencyUnavailable where it ends without an end, Internal for what is no event of ours.
    """
    for name, data in _messages(lines):
        event = _parse(name, data)
        if isinstance(event, ErrorEvent):
            raise error_from(event.data.error)
        yield event
        if isinstance(event, DoneEvent):
            return
    raise DependencyUnavailable("the gateway broke off in the middle of an answer")


def _messages(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Name and data of each message. The gateway writes both in one line each, an empty one after them, and comments that begin with a colon."""
    name = data = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data = line.removeprefix("data: ")
        elif not line and data:
            yield name, data
            name = data = ""


def _parse(name: str, data: str) -> AnswerEvent:
    try:
        return _EVENT.validate_json(f'{{"event":{json.dumps(name)},"data":{data}}}')
    except ValidationError as error:
        raise Internal(f"the gateway does not stream as this version of Ekiben does ({error.error_count()} faults in {name[:50]!r})") from error
