"""Streamed answers through the real services: they are the answers that come whole, and whoever goes away stops the work behind them."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from clients.http_client import EkibenClient
from core.errors import DependencyUnavailable
from core.schemas import Answer, AnswerRequest, DoneEvent, RetrievedEvent, SummaryEvent, TokenEvent
from tests.e2e.watching import in_work, wait_until, written
from tests.servers import Server, command, ekiben
from tests.tiny_models import save_tiny_t5

PASSAGES = 12
BATCH = 2
# A batch of the tiny model takes seconds with so many tokens.
NEW_TOKENS = 1_000
# Each holds all words that the tiny model knows, so that whatever it writes shares words with its passage.
YEARS = " ".join(str(1900 + n) for n in range(PASSAGES))
TEXTS = [f"The bridge number {n} was opened in one of the years {YEARS} by the mayor of the town." for n in range(PASSAGES)]


# -- with sentences that are quoted ----------------------------------------------------------------------------------------------


def test_a_stream_ends_in_the_answer_that_comes_whole(client: EkibenClient, questions: list[dict]):
    refused = 0
    for one in questions[::14]:
        request = AnswerRequest(question=one["question"], debug=True)
        events = list(client.stream(request))
        whole = client.answer(request)
        done = events[-1]
        assert isinstance(done, DoneEvent)
        assert _without_costs(done.data) == _without_costs(whole)
        assert "".join(event.data.text for event in events if isinstance(event, TokenEvent)) == whole.answer
        assert sorted(event.data.index for event in events if isinstance(event, SummaryEvent)) == list(range(len(whole.passages)))
        assert set(done.data.timings_ms) == {*whole.timings_ms, "first_token"}
        refused += whole.abstained
    assert 0 < refused < len(questions[::14])


def test_a_streamed_answer_is_recorded_and_can_be_replayed(client: EkibenClient):
    *_, done = client.stream(AnswerRequest(question="Which tunnel lies under the Tsugaru Strait?"))
    assert isinstance(done, DoneEvent)
    assert client.record(done.data.id).answer == done.data
    assert client.replay(done.data.id).identical


def test_curl_sees_the_events_as_they_are_described(server: Server):
    body = json.dumps({"question": "Which tunnel lies under the Tsugaru Strait?", "stream": True})
    line = ["curl", "-sSN", "-D", "-", f"{server.url}/v1/answer", "-H", "Content-Type: application/json", "-d", body]
    shown = subprocess.run(line, capture_output=True, timeout=60, check=True).stdout.decode("ascii")
    head, _, messages = shown.replace("\r\n", "\n").partition("\n\n")
    for header in ("content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no", "x-request-id: "):
        assert header in head.lower()
    names = re.findall(r"^event: (\w+)\ndata: \{.*\}$", messages, re.MULTILINE)
    assert names == ["retrieved", *["summary"] * 5, *["token"] * names.count("token"), "citations", "done"]
    assert "token" in names


def test_ask_prints_the_same_streamed_or_whole(server: Server):
    shown = [command("ask", "Which tunnel lies under the Tsugaru Strait?", flag, url=server.url) for flag in ("--stream", "--no-stream")]
    streamed, whole = (re.sub(rb"\d+ ms, ans_\w+", b"", one.stdout) for one in shown)
    assert streamed == whole
    assert b"[1] " in whole


def test_a_question_that_is_refused_is_no_stream(server: Server):
    answer = httpx.post(f"{server.url}/v1/answer", json={"question": " ", "stream": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


def _without_costs(answer: Answer) -> dict:
    """Without what is another one each time; how large the batches were as well. A streamed composition has none."""
    found = answer.model_dump(exclude={"id", "timings_ms"})
    for name in ("retrieval_ms", "summary_batches", "question_batch", "compose_batch"):
        del found["debug"][name]
    return found


# -- with a model that takes its time --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose summaries take seconds, two of them at once, and whose answers are never refused."""
    folder = tmp_path_factory.mktemp("slow")
    model = save_tiny_t5(folder / "t5", TEXTS)
    tokenizer = model / "tokenizer_config.json"
    # So that a summary, which is long, fits into the prompt of an answer.
    tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()) | {"model_max_length": 10 * NEW_TOKENS}))
    environment = {
        "EKIBEN_GENERATOR__BACKEND": "seq2seq",
        "EKIBEN_GENERATOR__MODEL": str(model),
        "EKIBEN_GENERATOR__MAX_NEW_TOKENS": str(NEW_TOKENS),
        "EKIBEN_GENERATOR__MAX_BATCH_ITEMS": str(BATCH),
        "EKIBEN_ANSWERING__MIN_CONFIDENCE": "0",
    }
    with ekiben(folder, **environment) as started, EkibenClient(started.url) as client:
        documents = [{"id": f"{n}", "text": text} for n, text in enumerate(TEXTS)]
        httpx.post(f"{started.url}/v1/documents", json={"documents": documents}, timeout=60).raise_for_status()
        # The first batch is slower than the others.
        client.answer(_asking(1))
        yield started


def _asking(top_k: int) -> AnswerRequest:
    return AnswerRequest(question="When was the bridge opened?", top_k=top_k, mode="lexical")


def _leave_stream(server: Server) -> None:
    with EkibenClient(server.url) as client:
        for event in client.stream(_asking(PASSAGES)):
            if isinstance(event, RetrievedEvent):
                assert len(event.data.passages) == PASSAGES
                wait_until(lambda: in_work(server, "/summarize") > BATCH)
                return


def _leave_unary(server: Server) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/answer", json=_asking(PASSAGES).model_dump(mode="json"), timeout=0.5)


def _leave_openai(server: Server) -> None:
    body = {"model": "ekiben", "messages": [{"role": "user", "content": "When was the bridge opened?"}], "stream": True}
    options = {"ekiben": {"top_k": PASSAGES, "mode": "lexical"}}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body | options, timeout=30) as response:
        lines = response.iter_lines()  # closes the response when it is collected
        assert next(lines).startswith("data: ")
        wait_until(lambda: in_work(server, "/summarize") > BATCH)


@pytest.mark.parametrize("leave", [_leave_stream, _leave_unary, _leave_openai])
def test_the_summaries_of_one_who_left_are_not_written_on(slow: Server, leave: Callable[[Server], None]):
    wait_until(lambda: in_work(slow, "/summarize") == 0)
    before, _ = written(slow)
    leave(slow)
    wait_until(lambda: in_work(slow, "/summarize") == 0, within_s=3.0)
    tokens, steps = written(slow)
    assert tokens - before < PASSAGES * NEW_TOKENS / 2
    time.sleep(0.5)
    # The step that was being made is counted when it ends.
    ended, last_step = written(slow)
    assert last_step <= steps + 1
    time.sleep(0.5)
    assert written(slow) == (ended, last_step)


def test_the_composition_of_one_who_left_is_given_up_at_once(slow: Server):
    with EkibenClient(slow.url) as client:
        whole = client.answer(_asking(1))
        assert not whole.degraded
        takes_s = whole.timings_ms["compose"] / 1000
        events = client.stream(_asking(1))
        while not isinstance(next(events), SummaryEvent):
            pass
        wait_until(lambda: in_work(slow, "/stream") == 1)
        events.close()  # type: ignore[attr-defined]
        assert wait_until(lambda: in_work(slow, "/stream") == 0) < takes_s / 2


def test_a_generator_that_dies_midway_ends_the_stream(slow: Server):
    """Last: it kills what the others need."""
    with EkibenClient(slow.url) as client, pytest.raises(DependencyUnavailable):
        for event in client.stream(_asking(1)):
            if isinstance(event, RetrievedEvent):
                slow.kill_all()
