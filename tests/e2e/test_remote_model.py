"""A language model on another server, `transformers serve`, behind the real services: it writes the answers, dies, and comes back."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from clients.http_client import EkibenClient
from core.schemas import Answer, AnswerRequest, DoneEvent, TokenEvent
from tests.servers import Server, ekiben, free_port
from tests.tiny_models import save_tiny_qwen
from tests.transformers_serve import transformers_serve

CLIENTS = 12
TEXTS = [f"The bridge number {n} was opened in {1900 + n} by the mayor of the town. It is made of steel and {n} stones." for n in range(CLIENTS)]
REQUESTS = [AnswerRequest(question=f"When was the bridge number {n} opened, and of what is it made?", top_k=2, debug=True) for n in range(CLIENTS)]


@dataclass(frozen=True)
class World:
    """Ekiben, and the server that writes for it."""

    ekiben: Server
    remote: Server
    model: Path
    port: int


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("remote")
    model, port = save_tiny_qwen(folder / "model", TEXTS, positions=8_192, legible=True), free_port()
    settings = {
        "EKIBEN_GENERATOR__BACKEND": "openai",
        "EKIBEN_GENERATOR__MODEL": str(model),
        "EKIBEN_GENERATOR__BASE_URL": f"http://127.0.0.1:{port}/v1",
        "EKIBEN_GENERATOR__MAX_NEW_TOKENS": "24",
        # Random weights bear nothing out.
        "EKIBEN_ANSWERING__MIN_CONFIDENCE": "0",
        "EKIBEN_ANSWERING__UNVERIFIED": "mark",
    }
    with transformers_serve(model, folder / "serve", port) as remote, ekiben(folder / "server", **settings) as started:
        documents = [{"id": str(n), "text": text} for n, text in enumerate(TEXTS)]
        httpx.post(f"{started.url}/v1/documents", json={"documents": documents}, timeout=60).raise_for_status()
        yield World(started, remote, model, port)


@pytest.fixture
def client(world: World) -> Iterator[EkibenClient]:
    with EkibenClient(world.ekiben.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def alone(world: World) -> list[Answer]:
    """What is answered to the first questions, one after the other."""
    with EkibenClient(world.ekiben.url) as client:
        return [client.answer(request) for request in REQUESTS[:3]]


def _said(answer: Answer) -> tuple[object, ...]:
    return (answer.answer, answer.abstained, answer.citations, answer.summaries, answer.usage)


def test_it_writes_answers_and_counts_its_tokens(world: World, alone: list[Answer]) -> None:
    for answer in alone:
        assert all(summary.text for summary in answer.summaries)
        assert answer.usage and answer.debug
        written = [one for one in (*answer.debug.summary_writing, answer.debug.compose_writing) if one]
        assert 2 <= len(written) <= 3
        assert answer.usage.new_tokens == sum(one.new_tokens for one in written) <= 24 * len(written)
        assert answer.usage.prompt_tokens == sum(one.prompt_tokens for one in written) > 100
        assert answer.conditions.generator
        assert (answer.conditions.generator.backend, answer.conditions.generator.model) == ("openai", str(world.model))
    assert any(answer.sentences for answer in alone)


def test_answers_beside_others_are_those_that_came_alone(client: EkibenClient, alone: list[Answer]) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(client.answer, REQUESTS))
    assert list(map(_said, answers[: len(alone)])) == list(map(_said, alone))
    assert not [summary.error for answer in answers for summary in answer.summaries if summary.error]


def test_a_stream_is_the_answer_that_comes_whole(client: EkibenClient, alone: list[Answer]) -> None:
    for request, whole in zip(REQUESTS, alone, strict=False):
        *events, done = client.stream(request)
        assert isinstance(done, DoneEvent)
        text = "".join(event.data.text for event in events if isinstance(event, TokenEvent))
        assert text == done.data.answer
        assert done.data.summaries == whole.summaries
        # A stream can't take back a sentence that no source bears out; the whole answer leaves it out.
        assert [sentence for sentence in done.data.sentences if sentence in whole.sentences] == list(whole.sentences)


def test_a_chat_completion_counts_as_the_remote_server_does(world: World, alone: list[Answer]) -> None:
    with openai.OpenAI(base_url=f"{world.ekiben.url}/v1", api_key="none", max_retries=0) as api:
        messages: list = [{"role": "user", "content": REQUESTS[0].question}]
        completion = api.chat.completions.create(model="ekiben", messages=messages, extra_body={"ekiben": {"top_k": 2}})
    assert completion.choices[0].message.content == alone[0].answer
    assert completion.usage and alone[0].usage
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (alone[0].usage.prompt_tokens, alone[0].usage.new_tokens)


def test_its_death_degrades_answers_and_is_told_and_its_return_mends_all(world: World, client: EkibenClient, alone: list[Answer]) -> None:
    """Last: it kills what the others need."""
    world.remote.kill_all()
    *_, done = client.stream(REQUESTS[0])
    assert isinstance(done, DoneEvent)
    for answer in (client.answer(REQUESTS[0]), done.data):
        assert answer.degraded and answer.abstained and answer.usage is None
        assert answer.passages == alone[0].passages
        assert [summary.error.code for summary in answer.summaries if summary.error] == ["dependency_unavailable"] * 2
        assert all("generator.base_url can't be reached" in note for note in answer.notes)
    assert httpx.get(f"{world.ekiben.url}/readyz", timeout=30).status_code == 503
    assert httpx.get(f"{world.ekiben.url}/livez", timeout=30).status_code == 200
    status = client.status()
    assert (status.ready, [problem.code for problem in status.problems]) == (False, ["not_ready"])
    with transformers_serve(world.model, world.remote.folder, world.port):
        world.ekiben.wait_for("/readyz")
        assert _said(client.answer(REQUESTS[0])) == _said(alone[0])
