from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from core.errors import CollectionNotFound
from core.schemas import AnswerRecord, AnswerRequest, Replay, SearchRequest, SearchResponse
from pipelines.answering.answer import AnswerQuestion
from services.gateway.answering import Answering
from services.gateway.records.api import AnswersApi
from services.gateway.records.recorder import Recorder
from tests.pipelines.answering.fakes import CALIBRATION, LIMITS, FakeGenerator, FakeRetriever, passage
from tests.services.gateway.records.samples import settings

REQUEST = AnswerRequest(question="When was it opened?", top_k=2, mode="dense", filters={"year": 1901})


class _Retriever(FakeRetriever):
    """Finds what is in `response` at the time."""

    gone = False

    async def search(self, request: SearchRequest) -> SearchResponse:
        if self.gone:
            raise CollectionNotFound("there is no collection 'default'")
        return await super().search(request)


@pytest.fixture
def retriever() -> _Retriever:
    return _Retriever([passage(1), passage(2)])


@pytest.fixture
def answering(retriever: _Retriever) -> AnswerQuestion:
    return AnswerQuestion(retriever, FakeGenerator(), LIMITS, CALIBRATION)


@pytest.fixture
async def recorder(tmp_path: Path) -> AsyncIterator[Recorder]:
    opened = Recorder(settings(tmp_path / "records"))
    async with opened.running():
        yield opened


@pytest.fixture
async def api(recorder: Recorder, answering: AnswerQuestion) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=AnswersApi(recorder, Answering(answering, recorder)).routes())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        yield client


@pytest.fixture
async def answered(recorder: Recorder, answering: AnswerQuestion) -> str:
    """The id of an answer."""
    answer = await answering(REQUEST)
    recorder.keep(REQUEST, answer)
    return answer.id


async def test_the_record_holds_the_request_the_answer_and_what_it_was_made_with(api: httpx.AsyncClient, answered: str) -> None:
    record = AnswerRecord.model_validate_json((await api.get(f"/v1/answers/{answered}")).content)
    assert (record.id, record.request, record.replay_of) == (answered, REQUEST, None)
    assert [one.chunk_id for one in record.answer.passages] == ["doc-1#0", "doc-2#0"]
    assert (record.answer.conditions.index_version, record.answer.conditions.settings["answering.answer_sentences"]) == (7, 3)
    assert record.answer.conditions.version


async def test_the_same_again_is_identical_and_recorded_as_a_replay(api: httpx.AsyncClient, answered: str, retriever: _Retriever) -> None:
    replay = Replay.model_validate_json((await api.post(f"/v1/answers/{answered}/replay")).content)
    assert (replay.identical, replay.differences) == (True, ())
    assert replay.record.id == answered != replay.answer.id
    assert retriever.requests[0] == retriever.requests[1]
    again = AnswerRecord.model_validate_json((await api.get(f"/v1/answers/{replay.answer.id}")).content)
    assert (again.replay_of, again.answer) == (answered, replay.answer)


async def test_what_is_different_now_is_told(api: httpx.AsyncClient, answered: str, retriever: _Retriever) -> None:
    retriever.response = retriever.response.model_copy(update={"passages": (passage(2), passage(3)), "index_version": 8})
    replay = Replay.model_validate_json((await api.post(f"/v1/answers/{answered}/replay")).content)
    assert not replay.identical
    assert {difference.kind for difference in replay.differences} == {"index_version", "passage", "sentence", "citation"}


async def test_an_answer_that_is_not_recorded_is_not_found(api: httpx.AsyncClient) -> None:
    for response in (await api.get("/v1/answers/ans_0"), await api.post("/v1/answers/ans_0/replay")):
        assert (response.status_code, response.json()["error"]["code"]) == (404, "answer_not_found")


async def test_what_keeps_a_replay_from_being_answered_is_the_answer(api: httpx.AsyncClient, answered: str, retriever: _Retriever) -> None:
    retriever.gone = True
    response = await api.post(f"/v1/answers/{answered}/replay")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "collection_not_found")
    assert (await api.get(f"/v1/answers/{answered}")).status_code == 200
