"""Questions answered over HTTP, whole or as a stream of events, and recorded."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from core.errors import ErrorBody
from core.schemas import Answer, AnswerEvent, AnswerRequest, DoneEvent, ErrorEvent
from core.telemetry import request_id
from pipelines.answering.answer import AnswerQuestion
from services.gateway.records.recorder import Recorder
from services.gateway.streaming import EventStream, fault_in_stream, sse


class Answering:
    """Asks the journey and has its answers recorded."""

    def __init__(self, answer: AnswerQuestion, records: Recorder) -> None:
        self._answer = answer
        self._records = records

    async def answer(self, request: AnswerRequest, replay_of: str | None = None) -> Answer:
        """The answer; `replay_of` is the id of the record that it repeats, where it does."""
        answer = await self._answer(request)
        self._records.keep(request, answer, replay_of)
        return answer

    async def events(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent, None]:
        """The answer as it is made, from the second event on what fails is an `error` event. Raises what fails before the first.

        To be read from the first event on: that is here already when this returns.
        """
        events = self._answer.stream(request)
        try:
            first = await anext(events)
        except BaseException:
            await events.aclose()
            raise
        return self._goes_on(first, events, request)

    async def stream(self, request: AnswerRequest) -> EventStream:
        """The events as the body of an answer."""
        return EventStream(_messages(await self.events(request)))

    async def _goes_on(
        self, first: AnswerEvent, events: AsyncGenerator[AnswerEvent, None], request: AnswerRequest
    ) -> AsyncGenerator[AnswerEvent, None]:
        async with aclosing(events):
            yield first
            try:
                async for event in events:
                    if isinstance(event, DoneEvent):
                        self._records.keep(request, event.data)
                    yield event
            except Exception as error:  # noqa: BLE001 - the outermost edge of a stream, whose status is sent
                yield ErrorEvent(data=ErrorBody(error=fault_in_stream(error).info(request_id.get() or None)))


async def _messages(events: AsyncGenerator[AnswerEvent, None]) -> AsyncGenerator[str, None]:
    async with aclosing(events):
        async for event in events:
            yield sse(event.data.model_dump(mode="json"), event.event)
