import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from core.errors import (
    DeadlineExceeded,
    DependencyUnavailable,
    EkibenError,
    GenerationFailed,
    InvalidRequest,
    InvalidSettings,
    ModelUnavailable,
    Overloaded,
)
from core.schemas import GenerationDone, GenerationText, WritingStats
from services.generator.backends.writing import WritingBackend
from services.generator.engines.engine import Prompt, Written
from services.generator.engines.remote import RemoteEngine
from services.generator.prompting import load_prompts
from tests.services.generator.engines.language_server import KEY, SAID, LanguageServer, serving
from tests.services.generator.samples import facts

PROMPT = Prompt("Be brief.", "When was it opened?", 40)
Load = Callable[..., RemoteEngine]


@pytest.fixture
async def server() -> AsyncIterator[LanguageServer]:
    async with serving() as server:
        yield server


@pytest.fixture
async def load(server: LanguageServer) -> AsyncIterator[Load]:
    engines: list[RemoteEngine] = []

    def load(model: str = "good", **options: Any) -> RemoteEngine:
        engines.append(RemoteEngine(options.pop("base_url", server.url), model, **{"api_key": KEY, "max_retries": 0, "timeout_s": 5.0, **options}))
        return engines[-1]

    yield load
    for engine in engines:
        await engine.close()


async def pieces(engine: RemoteEngine, prompt: Prompt = PROMPT) -> list[str | Written]:
    return [piece async for piece in engine.stream(prompt)]


async def one(engine: RemoteEngine, prompt: Prompt = PROMPT) -> Written | EkibenError:
    (written,) = await engine.write([prompt])
    return written


async def test_a_prompt_is_asked_greedily_in_its_roles(server: LanguageServer, load: Load) -> None:
    assert await one(load()) == Written(SAID, "stop", 11, 7)
    assert server.requests == [
        {
            "model": "good",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "When was it opened?"}],
            "max_tokens": 40,
            "temperature": 0.0,
        }
    ]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


async def test_a_prompt_without_a_system_part_has_none(server: LanguageServer, load: Load) -> None:
    await one(load(), Prompt("", "Why?", 9))
    assert server.requests[0]["messages"] == [{"role": "user", "content": "Why?"}]


async def test_why_a_text_ended_is_told(load: Load) -> None:
    written = await one(load(), Prompt("", "Why?", 1))
    assert isinstance(written, Written)
    assert written.finish == "length"


@pytest.mark.parametrize("model", ["good", "no-done"])
async def test_a_stream_has_the_text_in_pieces_and_then_whole(load: Load, model: str) -> None:
    *parts, last = await pieces(load(model))
    assert len(parts) > 5
    assert "".join(map(str, parts)) == SAID
    assert last == Written(SAID, "stop", 11, 7)


async def test_without_usage_tokens_are_estimated(load: Load) -> None:
    engine = load("no-usage")
    for written in (await one(engine), (await pieces(engine))[-1]):
        assert isinstance(written, Written)
        assert (written.prompt_tokens, written.new_tokens) == (engine.count_tokens(PROMPT), 22)


def test_room_for_what_is_written_is_left_aside() -> None:
    assert RemoteEngine("http://127.0.0.1:9/v1", "m", context_tokens=1000, max_new_tokens=100).max_prompt_tokens == 900
    with pytest.raises(InvalidSettings, match=r"generator\.context_tokens is 100"):
        RemoteEngine("http://127.0.0.1:9/v1", "m", context_tokens=100, max_new_tokens=100)


@pytest.mark.parametrize(
    ("model", "kind", "part"),
    [
        ("500", DependencyUnavailable, "failed (500"),
        ("503", DependencyUnavailable, "failed (503"),
        ("504", DeadlineExceeded, "longer than it allows itself (504)"),
        ("429", Overloaded, "no more requests now (429)"),
        ("400", GenerationFailed, "refuses the request (400, an_error)"),
        ("413", InvalidRequest, "too long"),
        ("too-long-openai", InvalidRequest, "too long"),
        ("too-long-vllm", InvalidRequest, "generator.context_tokens"),
        ("too-long-tgi", InvalidRequest, "too long"),
        ("html", DependencyUnavailable, "no chat completion"),
        ("no-json", DependencyUnavailable, "no chat completion"),
        ("no-choices", DependencyUnavailable, "no chat completion"),
        ("odd", DependencyUnavailable, "no chat completion"),
        ("array", DependencyUnavailable, "no chat completion"),
    ],
)
async def test_what_is_wrong_with_one_prompt_is_its_result(load: Load, model: str, kind: type[EkibenError], part: str) -> None:
    error = await one(load(model))
    assert type(error) is kind
    assert part in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize(("model", "setting"), [("401", "generator.api_key"), ("403", "generator.api_key"), ("404", "generator.model")])
async def test_a_refused_key_or_model_befalls_all_and_names_the_setting(load: Load, model: str, setting: str) -> None:
    with pytest.raises(ModelUnavailable, match=setting):
        await load(model).write([PROMPT, PROMPT])
    with pytest.raises(ModelUnavailable, match=setting):
        await pieces(load(model))


async def test_a_server_that_is_not_there_befalls_all() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        engine = RemoteEngine(f"http://127.0.0.1:{unheard.getsockname()[1]}/v1", "m", max_retries=0)
        with pytest.raises(DependencyUnavailable, match=r"generator\.base_url can't be reached \(ConnectError\)"):
            await engine.write([PROMPT, PROMPT])
        with pytest.raises(DependencyUnavailable, match="can't be reached"):
            await pieces(engine)
        assert not await engine.is_ready(1.0)
        await engine.close()


async def test_a_server_that_hangs_costs_the_timeout_and_no_more(load: Load) -> None:
    started = time.monotonic()
    assert isinstance(await one(load("hang", timeout_s=0.2, max_retries=2)), DeadlineExceeded)
    with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s \(generator\.timeout_s\)"):
        await pieces(load("hang", timeout_s=0.2))
    assert time.monotonic() - started < 2


async def test_a_full_server_is_heard_with_what_it_asks_for(server: LanguageServer, load: Load) -> None:
    started = time.monotonic()
    error = await one(load("busy", max_retries=2))
    assert isinstance(error, Overloaded)
    assert error.retry_after_s == 17
    assert len(server.requests) == 1
    assert time.monotonic() - started < 2


async def test_what_fails_for_a_moment_is_tried_again(server: LanguageServer, load: Load) -> None:
    assert isinstance(await one(load("fail-twice", max_retries=2)), Written)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("cut", DependencyUnavailable),
        ("lost", DependencyUnavailable),
        ("stall", DeadlineExceeded),
        ("garbled", DependencyUnavailable),
        ("mistyped", DependencyUnavailable),
        ("failing", DependencyUnavailable),
        ("overflowing", InvalidRequest),
    ],
)
async def test_a_stream_that_breaks_in_the_middle_says_so_and_never_ends_well(load: Load, model: str, kind: type[EkibenError]) -> None:
    seen: list[str | Written] = []
    with pytest.raises(kind):
        async for piece in load(model, timeout_s=0.5).stream(PROMPT):
            seen.append(piece)  # noqa: PERF401 - what came before the error counts
    assert "".join(map(str, seen)) == SAID[:12]


async def test_closing_a_stream_ends_the_request(server: LanguageServer, load: Load) -> None:
    async with aclosing(load("endless").stream(PROMPT)) as stream:
        await anext(stream)
        assert server.working == 1
    await server.until(server.left)
    assert server.working == 0


async def test_cancelling_ends_the_requests(server: LanguageServer, load: Load) -> None:
    task = asyncio.create_task(load("hang").write([PROMPT] * 3))
    await server.until(server.begun, 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.until(server.left, 3)


async def test_no_more_requests_run_than_allowed_and_all_are_answered_in_order(server: LanguageServer, load: Load) -> None:
    server.pause_s = 0.02
    engine = load(concurrency=3)
    prompts = [Prompt("", str(number), 1 + number % 2) for number in range(12)]
    written = await engine.write(prompts)
    assert [one.finish for one in written if isinstance(one, Written)] == ["length", "stop"] * 6
    assert server.most == 3


async def test_readiness_is_whether_the_server_answers_and_takes_the_key(load: Load) -> None:
    assert await load().is_ready(2.0)
    assert not await load(api_key="sk-wrong").is_ready(2.0)


@pytest.mark.parametrize(("status", "ready"), [(404, True), (405, True), (500, True), (502, False), (503, False)])
async def test_a_server_without_a_list_of_models_is_ready_and_a_proxy_without_a_server_is_not(
    server: LanguageServer, load: Load, status: int, ready: bool
) -> None:
    server.list_status = status
    assert await load().is_ready(2.0) is ready


def options(request: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if name in ("max_tokens", "max_completion_tokens", "temperature")}


@pytest.mark.parametrize(
    ("model", "asked"), [("reasoning", {"max_completion_tokens": 40}), ("terse", {"max_completion_tokens": 40, "temperature": 0.0})]
)
async def test_an_option_that_the_server_refuses_is_named_otherwise_or_left_out_for_good(
    server: LanguageServer, load: Load, model: str, asked: dict[str, Any]
) -> None:
    engine = load(model)
    first = await engine.write([PROMPT] * 4)
    assert first == [Written(SAID, "stop", 11, 7)] * 4
    tries = len(server.requests)
    assert options(server.requests[0]) == {"max_tokens": 40, "temperature": 0.0}
    assert await one(engine) == first[0]
    assert (await pieces(engine))[-1] == first[0]
    assert [options(request) for request in server.requests[tries:]] == [asked] * 2


async def test_a_stream_is_asked_for_again_without_what_the_server_refuses(server: LanguageServer, load: Load) -> None:
    assert (await pieces(load("reasoning")))[-1] == Written(SAID, "stop", 11, 7)
    assert [request["stream"] for request in server.requests] == [True] * 3


async def test_a_server_that_takes_no_limit_or_not_this_one_is_asked_no_further(server: LanguageServer, load: Load) -> None:
    assert isinstance(await one(load("boundless")), GenerationFailed)
    assert [next(iter(options(request))) for request in server.requests] == ["max_tokens", "max_completion_tokens"]
    assert isinstance(await one(load("small")), InvalidRequest | GenerationFailed)
    assert len(server.requests) == 3


async def test_the_key_is_in_no_message_and_no_description(load: Load) -> None:
    engine = load("400")
    error = await one(engine)
    assert isinstance(error, EkibenError)
    assert KEY not in error.message + repr(engine.info) + repr(engine)


async def test_an_answer_streams_through_the_backend_with_its_citations(load: Load) -> None:
    item = facts("It was opened in 1988.", "Trains run under the strait.")
    writer = WritingBackend(load(), load_prompts("chat.1"), max_new_tokens=40)
    *events, done = [event async for event in writer.stream(item)]
    (whole,) = await writer.compose([item])
    assert done == GenerationDone(result=whole)
    assert whole.writing == WritingStats(prompts=1, prompt_tokens=11, new_tokens=7)
    assert "".join(event.text for event in events if isinstance(event, GenerationText)) == "It was opened in 1988. Trains run."
    assert [sentence.supports for sentence in whole.sentences] == [source.supports for source in item.sources]
