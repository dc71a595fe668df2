"""Answers as events, over the fakes of the journey and a recorder on disk."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from core.errors import DependencyUnavailable, GenerationFailed
from core.schemas import AnswerRequest, GenerationEvent, GenerationItem, GenerationSentence, SearchResponse, Sentence
from core.settings import load_settings
from pipelines.answering.answer import AnswerQuestion
from services.gateway.answering import Answering
from services.gateway.records.recorder import Recorder
from tests.pipelines.answering.fakes import CALIBRATION, LIMITS, FakeGenerator, FakeRetriever, passage
from tests.services.gateway.asgi import Reader

REQUEST = AnswerRequest(question="When was the bridge opened?", stream=True)


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[Recorder]:
    recorder = Recorder(load_settings().records.model_copy(update={"data_dir": tmp_path}))
    async with recorder.running():
        yield recorder


def _answering(records: Recorder, generator: FakeGenerator | None = None, retriever: FakeRetriever | None = None) -> Answering:
    return Answering(AnswerQuestion(retriever or FakeRetriever([passage(1)]), generator or FakeGenerator(), LIMITS, CALIBRATION), records)


def _events_in(text: str) -> list[tuple[str, dict]]:
    found = []
    for message in text.removesuffix("\n\n").split("\n\n"):
        name, data = message.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_the_stream_names_its_events_and_its_data_is_what_stands_in_them(records: Recorder) -> None:
    reader = await Reader().read(await _answering(records).stream(REQUEST))
    events = _events_in(reader.text)
    assert [name for name, _ in events] == ["retrieved", "summary", "token", "citations", "done"]
    shapes = dict(events)
    assert set(shapes["retrieved"]) == {"id", "passages", "degraded", "notes", "timings_ms"}
    assert set(shapes["summary"]) == {"index", "summary"}
    assert shapes["token"] == {"text": "The bridge number 1 was opened in 1901."}
    assert set(shapes["citations"]) == {"sentences", "citations"}
    assert shapes["done"]["answer"] == shapes["token"]["text"]
    assert shapes["done"]["id"] == shapes["retrieved"]["id"]


async def test_a_streamed_answer_is_recorded_as_it_was_sent(records: Recorder) -> None:
    reader = await Reader().read(await _answering(records).stream(REQUEST))
    done = _events_in(reader.text)[-1][1]
    record = await records.find(done["id"])
    assert record.request == REQUEST
    assert record.answer.model_dump(mode="json") == done


async def test_what_fails_before_the_first_event_is_raised(records: Recorder) -> None:
    class Down(FakeRetriever):
        async def search(self, _: object) -> SearchResponse:
            raise DependencyUnavailable("down")

    with pytest.raises(DependencyUnavailable, match="down"):
        await _answering(records, retriever=Down([])).stream(REQUEST)


@pytest.mark.parametrize(("error", "code"), [(GenerationFailed("the model broke"), "generation_failed"), (ValueError("a bug"), "internal")])
async def test_what_fails_midway_is_the_last_event_and_nothing_is_recorded(records: Recorder, error: Exception, code: str) -> None:
    async def breaking(item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
        source = item.sources[0]
        yield GenerationSentence(sentence=Sentence(text=source.text, supports=source.supports))
        raise error

    reader = await Reader().read(await _answering(records, FakeGenerator(write_stream=breaking)).stream(REQUEST))
    events = _events_in(reader.text)
    assert [name for name, _ in events] == ["retrieved", "summary", "token", "error"]
    assert (set(events[-1][1]), events[-1][1]["error"]["code"]) == ({"error"}, code)
    assert "bug" not in events[-1][1]["error"]["message"]
    assert records._waiting == {}
