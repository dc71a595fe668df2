"""Each engine with a small model of random weights, through the real services: what it writes doesn't depend on what else is asked."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest

from clients.http_client import EkibenClient
from core.schemas import Answer, AnswerRequest, DoneEvent, TokenEvent
from tests.servers import Server, ekiben, free_port
from tests.tiny_models import save_tiny_qwen, save_tiny_t5
from tests.transformers_serve import transformers_serve

TEXTS = [f"The bridge number {n} was opened in {1900 + n} by the mayor of the town. It is made of steel and {n} stones." for n in range(12)]
QUESTIONS = [f"When was the bridge number {n} opened, and of what is it made?" for n in range(12)]
CLIENTS = 12


def _save(backend: str, folder: Path) -> Path:
    if backend in ("seq2seq", "ctranslate2"):
        return save_tiny_t5(folder, TEXTS)
    return save_tiny_qwen(folder, TEXTS, positions=8_192, legible=backend == "openai")


@pytest.fixture(scope="module", params=["causal", *(pytest.param(one, marks=pytest.mark.slow) for one in ("seq2seq", "ctranslate2", "openai"))])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp(request.param)
    settings = {
        "EKIBEN_GENERATOR__BACKEND": request.param,
        "EKIBEN_GENERATOR__MODEL": str(_save(request.param, folder / "model")),
        "EKIBEN_GENERATOR__MAX_NEW_TOKENS": "24",
        "EKIBEN_GENERATOR__CACHE_DIR": str(folder / "converted"),
        # Random weights bear nothing out.
        "EKIBEN_ANSWERING__MIN_CONFIDENCE": "0",
        "EKIBEN_ANSWERING__UNVERIFIED": "mark",
    }
    port = free_port()
    remote = transformers_serve(folder / "model", folder / "serve", port) if request.param == "openai" else nullcontext()
    settings |= {"EKIBEN_GENERATOR__BASE_URL": f"http://127.0.0.1:{port}/v1"} if request.param == "openai" else {}
    with remote, ekiben(folder / "server", **settings) as started:
        documents = [{"id": str(n), "text": text} for n, text in enumerate(TEXTS)]
        httpx.post(f"{started.url}/v1/documents", json={"documents": documents}, timeout=60).raise_for_status()
        yield started


def _said(answer: Answer) -> tuple[object, ...]:
    return (answer.answer, answer.abstained, answer.citations, tuple(summary.text for summary in answer.summaries))


def test_an_answer_is_the_same_alone_and_beside_others(server: Server) -> None:
    with EkibenClient(server.url) as client:
        alone = [_said(client.answer(AnswerRequest(question=question))) for question in QUESTIONS[:4]]

        def ask(number: int) -> Answer:
            return client.answer(AnswerRequest(question=QUESTIONS[number % len(QUESTIONS)], debug=True))

        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(ask, range(3 * CLIENTS)))
    assert [_said(answer) for answer in answers[:4]] == alone
    assert not [summary.error for answer in answers for summary in answer.summaries if summary.error]
    assert any(summary.text for answer in answers for summary in answer.summaries)


def test_streams_side_by_side_end_in_the_answers_that_come_whole(server: Server) -> None:
    with EkibenClient(server.url) as client:

        def stream(question: str) -> Answer:
            *events, done = client.stream(AnswerRequest(question=question))
            assert isinstance(done, DoneEvent)
            text = "".join(event.data.text for event in events if isinstance(event, TokenEvent))
            assert text.split() == done.data.answer.split()
            return done.data

        with ThreadPoolExecutor(CLIENTS) as pool:
            streamed = list(pool.map(stream, QUESTIONS))
        whole = [client.answer(AnswerRequest(question=question)) for question in QUESTIONS]
    assert [answer.summaries for answer in streamed] == [answer.summaries for answer in whole]
    # A stream can't take back a sentence that no source bears out; the whole answer leaves it out.
    for sent, answer in zip(streamed, whole, strict=True):
        assert [sentence for sentence in sent.sentences if sentence in answer.sentences] == list(answer.sentences)
    assert any(answer.sentences for answer in whole)


def test_an_answer_tells_model_and_prompts(server: Server) -> None:
    with EkibenClient(server.url) as client:
        generator = client.answer(AnswerRequest(question=QUESTIONS[0])).conditions.generator
    assert generator is not None
    assert generator.backend in str(server.folder)
    assert str(generator.settings["generator.prompts"]).startswith("chat.1@" if generator.backend in ("causal", "openai") else "plain.1@")
    if generator.backend == "openai":
        # Only the other server knows its weights, and what it reads together.
        return
    assert generator.weights_sha256
    written = httpx.get(f"{server.url}/metrics").text
    assert 'ekiben_batch_items_count{operation="read",service="generator"}' in written


def test_debug_says_what_the_model_read_and_wrote_and_in_what_company(server: Server) -> None:
    with EkibenClient(server.url) as client:
        answer = client.answer(AnswerRequest(question=QUESTIONS[0], debug=True))
    assert answer.debug and answer.usage and answer.conditions.generator
    written = [one for one in (*answer.debug.summary_writing, answer.debug.compose_writing) if one]
    assert len(written) >= len(answer.passages)
    assert (answer.usage.prompt_tokens, answer.usage.new_tokens) == (
        sum(one.prompt_tokens for one in written),
        sum(one.new_tokens for one in written),
    )
    if answer.conditions.generator.backend == "openai":
        assert {one.padding for one in written} == {None}
        return
    for one in written:
        assert one.rows and one.tokens and one.padding is not None
        assert one.tokens >= one.prompt_tokens / one.prompts
        assert 0 <= one.padding < 1
