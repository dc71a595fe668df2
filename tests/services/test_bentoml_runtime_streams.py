"""Cure 4: streams of a dependency, read from tiny servers that cut, break off, die, fall silent or go on for ever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from _bentoml_impl.client import proxy2
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DeadlineExceeded, DependencyUnavailable, DocumentNotFound, EkibenError, ErrorBody, GenerationFailed, Internal
from services import bentoml_runtime
from services.bentoml_runtime import event_line, events, stream_events

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _streaming(handler: Handler) -> AsyncIterator[object]:
    """A dependency whose /stream is `handler`."""

    async def stream(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_post("/stream", stream)
    async with TestServer(app) as server:
        manager = proxy2.SessionManager(url=str(server.make_url("/")), timeout=5, headers={})
        try:
            yield SimpleNamespace(to_async=SimpleNamespace(_session_manager=manager))
        finally:
            await manager.close()


async def _sending(request: web.Request, pieces: list[bytes]) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
    return response


def _stream(dependency: object) -> AsyncIterator[dict[str, Any]]:
    return stream_events("Callee", dependency, "/stream", {})


async def _read_into(seen: list[str], dependency: object) -> None:
    """Keep the texts that came before an error."""
    async for event in _stream(dependency):
        seen.append(event["text"])  # noqa: PERF401


async def _pieces_arrive_as(pieces: list[bytes]) -> list[dict[str, Any]]:
    async with _streaming(lambda request: _sending(request, pieces)) as dependency:
        return [event async for event in _stream(dependency)]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(), max_size=8), size=st.integers(1, 40))
def test_events_survive_any_cutting_on_their_way(runner: asyncio.Runner, texts: list[str], size: int) -> None:
    async def source() -> AsyncIterator[dict[str, object]]:
        for text in texts:
            yield {"event": "text", "text": text}

    async def arrived() -> list[dict[str, Any]]:
        sent = "".join([line async for line in events(source())]).encode("ascii")
        return await _pieces_arrive_as([sent[start : start + size] for start in range(0, len(sent), size)])

    assert [event["text"] for event in runner.run(arrived())] == texts


async def test_event_may_be_larger_than_a_line_that_aiohttp_reads() -> None:
    text = "駅" * 500_000
    arrived = await _pieces_arrive_as([event_line({"event": "text", "text": text}).encode(), event_line({"event": "done"}).encode()])
    assert [event["text"] for event in arrived] == [text]


async def test_error_in_mid_stream_is_raised_after_the_events_before_it() -> None:
    async def source() -> AsyncIterator[dict[str, object]]:
        yield {"event": "text", "text": "first"}
        raise GenerationFailed("no second")

    pieces = [line.encode() async for line in events(source())]
    seen: list[str] = []
    async with _streaming(lambda request: _sending(request, pieces)) as dependency:
        with pytest.raises(GenerationFailed, match="no second"):
            await _read_into(seen, dependency)
    assert seen == ["first"]


FIRST = event_line({"event": "text", "text": "first"}).encode()


@pytest.mark.parametrize("pieces", [[], [FIRST], [FIRST, FIRST[:10]]], ids=["before", "between", "within"])
async def test_stream_that_ends_without_done_broke_off(pieces: list[bytes]) -> None:
    with pytest.raises(DependencyUnavailable, match="broke off in the middle"):
        await _pieces_arrive_as(pieces)


async def test_dependency_that_dies_in_mid_stream_is_unavailable() -> None:
    async def dies(request: web.Request) -> web.StreamResponse:
        response = await _sending(request, [FIRST])
        assert request.transport
        request.transport.abort()
        return response

    seen: list[str] = []
    async with _streaming(dies) as dependency:
        with pytest.raises(DependencyUnavailable, match="Callee can't be reached"):
            await _read_into(seen, dependency)
    assert seen == ["first"]


async def test_dependency_that_falls_silent_in_mid_stream_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bentoml_runtime, "STREAM_READ_TIMEOUT_S", 0.1)
    released = asyncio.Event()

    async def falls_silent(request: web.Request) -> web.StreamResponse:
        response = await _sending(request, [FIRST])
        await released.wait()
        return response

    async with _streaming(falls_silent) as dependency:
        with pytest.raises(DeadlineExceeded, match=r"Callee did not answer within 0\.1 s"):
            async with asyncio.timeout(5.0):
                assert [event async for event in _stream(dependency)]
        released.set()


async def test_stream_of_a_stranger_is_an_internal_error() -> None:
    with pytest.raises(Internal, match="can't be read"):
        await _pieces_arrive_as([b"<html>\n"])


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (ErrorBody(error=DocumentNotFound("no 'a'").info()).model_dump_json(), 404, DocumentNotFound),
        ("Not Found", 404, DependencyUnavailable),
        ("upstream request timeout", 504, DeadlineExceeded),
    ],
)
async def test_refused_stream_is_raised_as_an_error(body: str, status: int, expected: type[EkibenError]) -> None:
    async def refuses(request: web.Request) -> web.StreamResponse:
        return web.Response(text=body, status=status)

    async with _streaming(refuses) as dependency:
        with pytest.raises(expected) as caught:
            assert [event async for event in _stream(dependency)]
    assert type(caught.value) is expected


async def test_stream_of_a_dead_dependency_is_unavailable() -> None:
    async with _streaming(lambda request: _sending(request, [])) as dependency:
        pass
    with pytest.raises(DependencyUnavailable):
        assert [event async for event in _stream(dependency)]
    await dependency.to_async._session_manager.close()  # type: ignore[attr-defined]


async def test_closing_the_iterator_closes_the_socket() -> None:
    gone = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(FIRST)
                await asyncio.sleep(0)
        finally:
            gone.set()

    async with _streaming(endless) as dependency:
        stream: Any = _stream(dependency)
        async with asyncio.timeout(5.0):
            assert (await anext(stream))["text"] == "first"
            await stream.aclose()
            await gone.wait()


async def test_error_in_a_stream_with_a_code_of_another_version_is_internal() -> None:
    line = event_line({"event": "error", "error": {"code": "from_the_future", "message": "why"}})
    with pytest.raises(Internal, match="why"):
        await _pieces_arrive_as([line.encode()])
