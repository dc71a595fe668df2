"""A hundred streams at once through the real services, half of them dropped midway: the rest are right, and the dropped ones cost no more."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence

import httpx
import pytest

from core.schemas import Answer
from tests.e2e.watching import in_work, wait_until, written
from tests.servers import Server, ekiben
from tests.tiny_models import save_tiny_t5

STREAMS = 100
BRIDGES = 25
# The tiny model never ends a text by itself.
NEW_TOKENS = 300
# Each holds all words that the tiny model knows, so that whatever it writes shares words with its passage.
YEARS = " ".join(str(1900 + n) for n in range(BRIDGES))
TEXTS = [f"The bridge number {n} was opened in one of the years {YEARS} by the mayor of the town." for n in range(BRIDGES)]
QUESTIONS = [f"Was the bridge number {n % BRIDGES} opened in {1900 + n // BRIDGES}?" for n in range(STREAMS)]
# A slow machine takes its time; what is too slow is the test's own timeout.
LONG_S = "170"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("many")
    model = save_tiny_t5(folder / "t5", TEXTS)
    tokenizer = model / "tokenizer_config.json"
    # So that a summary, which is long, fits into the prompt of an answer.
    tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()) | {"model_max_length": 10 * NEW_TOKENS}))
    environment = {
        "EKIBEN_GENERATOR__BACKEND": "seq2seq",
        "EKIBEN_GENERATOR__MODEL": str(model),
        "EKIBEN_GENERATOR__MAX_NEW_TOKENS": str(NEW_TOKENS),
        "EKIBEN_GENERATOR__MAX_RUNNING": str(STREAMS),
        "EKIBEN_GENERATOR__KV_TOKENS": "1000000",
        "EKIBEN_GENERATOR__TIMEOUT_S": LONG_S,
        "EKIBEN_GATEWAY__TIMEOUT_S": LONG_S,
        "EKIBEN_RETRIEVER__TIMEOUT_S": LONG_S,
        "EKIBEN_ANSWERING__MIN_CONFIDENCE": "0",
        # Tokens are sent as the model writes them.
        "EKIBEN_ANSWERING__UNVERIFIED": "mark",
        **{f"EKIBEN_ANSWERING__{stage}_TIMEOUT_S": LONG_S for stage in ("RETRIEVE", "SUMMARY", "COMPOSE", "ANSWER")},
    }
    with ekiben(folder, **environment) as started:
        documents = [{"id": f"{n}", "text": text} for n, text in enumerate(TEXTS)]
        httpx.post(f"{started.url}/v1/documents", json={"documents": documents}, timeout=60).raise_for_status()
        yield started


def _body(question: str, *, stream: bool) -> dict[str, object]:
    return {"question": question, "top_k": 1, "mode": "lexical", "debug": True, "stream": stream}


def _client(server: Server) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=float(LONG_S), limits=httpx.Limits(max_connections=None))


async def _whole(api: httpx.AsyncClient, question: str) -> Answer:
    answered = await api.post("/v1/answer", json=_body(question, stream=False))
    return Answer.model_validate(answered.raise_for_status().json())


async def _streamed(api: httpx.AsyncClient, question: str, *, leaves: bool) -> Answer | None:
    """The answer at the end of the stream; None for one who leaves at the first token."""
    event = ""
    async with api.stream("POST", "/v1/answer", json=_body(question, stream=True)) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            event = line.removeprefix("event: ") if line.startswith("event: ") else event
            if line.startswith("data: ") and event == "done":
                return Answer.model_validate_json(line.removeprefix("data: "))
            if event == "token" and leaves:
                return None
    raise AssertionError(f"the stream ended with {event}")


async def _ask_all(server: Server, staying: Sequence[str]) -> list[Answer]:
    """What those who stay were streamed."""
    async with _client(server) as api:
        streamed = await asyncio.gather(*(_streamed(api, question, leaves=question not in staying) for question in QUESTIONS))
    return [answer for answer in streamed if answer]


async def _ask_whole(server: Server, questions: Sequence[str]) -> list[Answer]:
    """The first alone, the others all at once."""
    async with _client(server) as api:
        alone = await _whole(api, questions[0])
        return [alone, *await asyncio.gather(*(_whole(api, question) for question in questions[1:]))]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_half_of_a_hundred_streams_are_dropped_and_the_rest_are_right(server: Server) -> None:
    staying = QUESTIONS[::2]
    streamed = asyncio.run(_ask_all(server, staying))
    assert [answer.question for answer in streamed] == staying
    wait_until(lambda: in_work(server, "/stream") == 0)
    _, steps = written(server)
    time.sleep(0.5)
    # The step that was being made is counted when it ends.
    tokens, last_step = written(server)
    assert last_step <= steps + 1
    time.sleep(0.5)
    assert written(server) == (tokens, last_step)
    _assert_dropped_ones_cost_little(streamed, tokens)
    whole = asyncio.run(_ask_whole(server, staying))
    for sent, answer in zip(streamed, whole, strict=True):
        assert sent.summaries == answer.summaries
        # A stream can't take back a sentence that no source bears out; the whole answer leaves it out.
        assert [sentence for sentence in sent.sentences if sentence in answer.sentences] == list(answer.sentences)
    assert sum(bool(answer.sentences) for answer in whole) > len(whole) / 2


def _assert_dropped_ones_cost_little(streamed: Sequence[Answer], tokens: float) -> None:
    """`tokens` is what all streams, the first that the server wrote for, cost; those who stayed know their own."""
    costs = [answer.usage.new_tokens for answer in streamed if answer.usage]
    assert sum(cost == 2 * NEW_TOKENS for cost in costs) > len(streamed) / 2
    count = STREAMS - len(streamed)
    # Their summaries were written to the end.
    assert count * NEW_TOKENS < tokens - sum(costs) < count * 1.9 * NEW_TOKENS
