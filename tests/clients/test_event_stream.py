import httpx
import pytest

from clients.event_stream import answer_events
from clients.http_client import EkibenClient
from core.errors import DeadlineExceeded, DependencyUnavailable, GenerationFailed, Internal, NotReady, Overloaded
from core.schemas import AnswerEvent, AnswerRequest, DoneEvent
from tests.clients.fake_gateway import ANSWER, FakeGateway, error_answer

QUESTION = AnswerRequest(question="What?")


@pytest.fixture
def client(gateway: FakeGateway, waits: list[float]) -> EkibenClient:
    return EkibenClient(transport=httpx.MockTransport(gateway))


def test_the_events_come_back_as_they_were_sent(client: EkibenClient, gateway: FakeGateway) -> None:
    gateway.tokens = ["The ", "text."]
    events = list(client.stream(QUESTION))
    assert [event.event for event in events] == ["retrieved", "token", "token", "citations", "done"]
    assert isinstance(events[-1], DoneEvent)
    assert events[-1].data == ANSWER
    assert gateway.asked["stream"] is True


def test_a_whole_answer_is_asked_for_whatever_the_request_says(client: EkibenClient, gateway: FakeGateway) -> None:
    assert client.answer(QUESTION.model_copy(update={"stream": True})) == ANSWER
    assert gateway.asked["stream"] is False


def test_what_may_pass_is_tried_again_before_the_answer_begins(client: EkibenClient, gateway: FakeGateway, waits: list[float]) -> None:
    gateway.failures = [error_answer(Overloaded("busy")), error_answer(NotReady("soon"))]
    assert list(client.stream(QUESTION))[-1].event == "done"
    assert len(waits) == 2


def test_a_refusal_is_raised(client: EkibenClient, gateway: FakeGateway) -> None:
    gateway.failures = [error_answer(DeadlineExceeded("late"))]
    with pytest.raises(DeadlineExceeded, match="late"):
        list(client.stream(QUESTION))


def _read_into(seen: list[AnswerEvent], client: EkibenClient) -> None:
    for event in client.stream(QUESTION):
        seen.append(event)  # noqa: PERF402


@pytest.mark.parametrize(
    ("ends_with", "expected"), [(GenerationFailed("the model broke"), GenerationFailed), (None, DependencyUnavailable)], ids=["error", "nothing"]
)
def test_a_stream_that_fails_midway_raises_after_what_came(
    client: EkibenClient, gateway: FakeGateway, ends_with: GenerationFailed | None, expected: type[Exception]
) -> None:
    gateway.break_off_after, gateway.stream_error = 2, ends_with
    seen: list[AnswerEvent] = []
    with pytest.raises(expected):
        _read_into(seen, client)
    assert [event.event for event in seen] == ["retrieved", "token"]
    assert len(gateway.requests) == 1


@pytest.mark.parametrize("line", ['data: {"text": 1}', "data: <html>", 'data: {"text": "x"}}'])
def test_what_is_no_event_of_ours_is_told(line: str) -> None:
    with pytest.raises(Internal, match="does not stream as this version"):
        list(answer_events(["event: token", line, ""]))


def test_comments_and_empty_lines_are_passed_over() -> None:
    done = f"data: {DoneEvent(data=ANSWER).data.model_dump_json()}"
    assert [event.event for event in answer_events([": keep-alive", "", "", "event: done", ": x", done, "", "event: token"])] == ["done"]
