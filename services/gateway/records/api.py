"""The HTTP API of recorded answers."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.schemas import Replay
from pipelines.answering.comparing import are_identical, differences
from services.gateway.answering import Answering
from services.gateway.records.recorder import Recorder
from services.gateway.routing import json_response, route

ANSWERS_PATH = "/v1/answers"


class AnswersApi:
    """Handlers over the records and the journey that answers."""

    def __init__(self, records: Recorder, answering: Answering) -> None:
        self._records = records
        self._answering = answering

    def routes(self) -> list[Route]:
        """What the gateway serves."""
        one = ANSWERS_PATH + "/{answer_id}"
        return [route("GET", one, self.get), route("POST", one + "/replay", self.replay)]

    async def get(self, request: Request) -> Response:
        """A recorded answer."""
        return json_response(await self._records.find(request.path_params["answer_id"]))

    async def replay(self, request: Request) -> Response:
        """Answer a recorded request again, and tell what is different. The new answer is recorded as well."""
        record = await self._records.find(request.path_params["answer_id"])
        answer = await self._answering.answer(record.request, replay_of=record.id)
        found = differences(record.answer, answer)
        return json_response(Replay(record=record, answer=answer, identical=are_identical(found), differences=found))
