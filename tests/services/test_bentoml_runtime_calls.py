"""Cures 5 and 6: calls that meet idle sockets, transport errors and answered errors."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from _bentoml_impl.client import proxy2
from bentoml.exceptions import BentoMLException
from pydantic import BaseModel, ValidationError

from core.errors import DeadlineExceeded, DependencyUnavailable, EkibenError, ErrorBody, Internal, all_errors
from services import bentoml_runtime
from services.bentoml_runtime import call, translate


def _family(root: type[BaseException]) -> set[type[BaseException]]:
    return {root}.union(*(_family(cls) for cls in root.__subclasses__()))


def _by_name(cls: type[BaseException]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


AIOHTTP_ERRORS = sorted(_family(aiohttp.ClientError), key=_by_name)
BENTOML_ERRORS = sorted(_family(BentoMLException), key=_by_name)


class Flaky:
    """A remote method that meets each of `troubles` once, then answers."""

    def __init__(self, *troubles: BaseException) -> None:
        self.troubles = list(troubles)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.troubles:
            raise self.troubles.pop(0)
        return "answer"


# -- 5: idle sockets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stale", [aiohttp.ServerDisconnectedError(), aiohttp.ClientOSError(), aiohttp.ClientConnectionResetError()])
async def test_call_that_meets_a_stale_socket_is_tried_again(stale: Exception) -> None:
    method = Flaky(stale)
    assert await call("Callee", method, 1.0) == "answer"
    assert method.calls == 2


async def test_call_is_tried_again_only_once() -> None:
    method = Flaky(aiohttp.ServerDisconnectedError(), aiohttp.ServerDisconnectedError())
    with pytest.raises(DependencyUnavailable, match=r"Callee can't be reached \(ServerDisconnectedError\)"):
        await call("Callee", method, 1.0)
    assert method.calls == 2


async def test_call_of_a_dead_service_is_not_tried_again() -> None:
    key = SimpleNamespace(host="callee", port=1, ssl=True)
    method = Flaky(aiohttp.ClientConnectorError(key, ConnectionRefusedError()))  # type: ignore[arg-type]
    with pytest.raises(DependencyUnavailable, match="ClientConnectorError"):
        await call("Callee", method, 1.0)
    assert method.calls == 1


async def test_answered_error_is_not_tried_again() -> None:
    method = Flaky(BentoMLException("no"))
    with pytest.raises(DependencyUnavailable):
        await call("Callee", method, 1.0)
    assert method.calls == 1


class OneShotServer:
    """Answers the first request on each connection, and closes it, as uvicorn does with an idle one, when the second comes."""

    def __init__(self) -> None:
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self._read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        with contextlib.suppress(asyncio.IncompleteReadError):
            await self._read_request(reader)
        writer.close()

    async def _read_request(self, reader: asyncio.StreamReader) -> None:
        await reader.readuntil(b"\r\n\r\n")

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Callable[[], Coroutine[None, None, bytes]]]:
        """A method that posts through BentoML's dependency client."""
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            manager = proxy2.SessionManager(url=f"http://127.0.0.1:{port}", timeout=5, headers={})

            async def post() -> bytes:
                session = await manager.get_session()
                async with session.post("/") as response:
                    return bytes(await response.read())

            try:
                yield post
            finally:
                await manager.close()


async def test_call_survives_a_socket_that_was_closed_while_it_was_idle() -> None:
    server = OneShotServer()
    async with server.client() as post:
        assert [await call("Callee", post, 5.0), await call("Callee", post, 5.0)] == [b"ok", b"ok"]
    assert server.connections == 2


async def test_uncured_call_fails_on_a_socket_that_was_closed_while_it_was_idle() -> None:
    async with OneShotServer().client() as post:
        await post()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await post()


@pytest.mark.parametrize("over_unix_socket", [False, True])
async def test_client_lets_go_of_an_idle_socket_first(over_unix_socket: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bentoml_runtime, "CLIENT_KEEP_ALIVE_S", 0.1)
    used = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        used.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    if over_unix_socket:
        server = await asyncio.start_unix_server(serve, tmp_path / "socket")
        url = (tmp_path / "socket").as_uri()
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = proxy2.AsyncClient(url, server_ready_timeout=0)
    async with server:
        connections = []
        for pause_s in (0.0, 0.0, 0.25):
            await asyncio.sleep(pause_s)
            assert await client.is_ready()
            connections.append(len(used))
        await client.close()
    assert connections == [1, 1, 2]


def test_client_gives_up_an_idle_socket_before_uvicorn_does() -> None:
    uvicorn_default_s = 5.0
    assert uvicorn_default_s / 2 < bentoml_runtime.CLIENT_KEEP_ALIVE_S < uvicorn_default_s - 1.0


# -- 6: errors -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", AIOHTTP_ERRORS, ids=_by_name)
async def test_transport_error_becomes_unavailable_or_late(cls: type[aiohttp.ClientError]) -> None:
    # Their constructors all differ, and what they hold is not looked at.
    error = cls.__new__(cls)
    late = isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError)
    expected = DeadlineExceeded if late else DependencyUnavailable
    with pytest.raises(expected) as caught:
        await call("Callee", Flaky(error, error), 1.0)
    assert caught.value.__cause__ is error
    assert caught.value.status in (503, 504)


@pytest.mark.parametrize("cls", BENTOML_ERRORS, ids=_by_name)
async def test_answer_that_is_an_error_of_bentoml_becomes_unavailable_or_late(cls: type[BentoMLException]) -> None:
    error = cls.__new__(cls)
    BentoMLException.__init__(error, '{"error": "An unexpected error has occurred"}')
    with pytest.raises(DependencyUnavailable if cls.error_code != 504 else DeadlineExceeded, match=f"Callee answered {cls.error_code.value}"):
        await call("Callee", Flaky(error), 1.0)


@pytest.mark.parametrize("cls", [cls for cls in all_errors() if cls.status], ids=lambda cls: cls.code)
async def test_answer_that_is_an_error_of_ours_is_raised_as_that_error(cls: type[EkibenError]) -> None:
    body = ErrorBody(error=cls("why it failed").info("some-request"))
    with pytest.raises(cls) as caught:
        await call("Callee", Flaky(BentoMLException(body.model_dump_json())), 1.0)
    assert (type(caught.value), caught.value.message) == (cls, "why it failed")


async def test_call_that_takes_too_long_is_late() -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded, match=r"Callee did not answer within 0\.01 s"):
        await call("Callee", hangs, 0.01)


@pytest.mark.parametrize("error", [json.JSONDecodeError("no", "<html>", 0), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), ValueError("599")])
async def test_answer_that_can_not_be_read_is_an_internal_error(error: ValueError) -> None:
    with pytest.raises(Internal, match=rf"Callee gave an answer that can't be read \({type(error).__name__}\)"):
        await call("Callee", Flaky(error), 1.0)


async def test_answer_of_another_shape_is_an_internal_error_that_does_not_quote_it() -> None:
    class Shape(BaseModel):
        number: int

    with pytest.raises(ValidationError) as invalid:
        Shape.model_validate({"number": "a private thing"})
    error = translate("Callee", invalid.value, 1.0)
    assert (type(error), error.message) == (Internal, "Callee gave an answer that is not valid: 1 faults in Shape")


async def test_fault_in_our_own_code_is_not_blamed_on_the_dependency() -> None:
    with pytest.raises(ZeroDivisionError):
        await call("Callee", Flaky(ZeroDivisionError()), 1.0)


async def test_address_where_packets_vanish_costs_the_connect_timeout_and_not_the_whole_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bentoml_runtime, "CONNECT_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, contextlib.ExitStack() as stack:
        # Linux drops the SYN of whoever comes when the queue of a listener is full, as the network does for an address nobody has.
        for _ in range(4):
            queued = stack.enter_context(socket.socket())
            queued.setblocking(False)
            queued.connect_ex(deaf.getsockname())
        sessions = proxy2.SessionManager(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=60.0, headers={})
        session = await sessions.get_session()

        async def ask() -> None:
            await session.get("/anything")

        with pytest.raises(DependencyUnavailable, match="ConnectionTimeoutError"):
            await call("Callee", ask, 30.0)
        await sessions.close()
