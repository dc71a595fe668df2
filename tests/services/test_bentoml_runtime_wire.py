"""Cures 3, 5, 6 and 8 between real processes on TCP ports: a dependency that is down or silent, idle sockets, and pickle from strangers."""

import asyncio
import os
import pickle
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from _bentoml_impl.client.proxy2 import AsyncClient

from services.bentoml_runtime import PICKLE, call
from tests.servers import Server
from tests.services.toy_server import alone

# The toys ask each dependency for a second.
READY_WITHIN_S = 3.0
KEEP_ALIVE_S = 1


class Address:
    """A TCP port of ours on which nobody listens, but where a test says so."""

    def __init__(self) -> None:
        self._holder = self._bind(0)
        self.port: int = self._holder.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def accepting_in_silence(self) -> Iterator[None]:
        """Take connections, and never answer."""
        with self._bind(self.port) as listener:
            listener.listen(16)
            yield

    def close(self) -> None:
        self._holder.close()

    @staticmethod
    def _bind(port: int) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(("127.0.0.1", port))
        return bound


@dataclass(frozen=True)
class Servers:
    """A Callee whose sockets live for a second, a Caller without a Callee, and both without cures."""

    callee: Server
    orphan: Server
    uncured_callee: Server
    uncured_orphan: Server
    missing: Address


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    missing = Address()
    not_waiting = ("--timeout-graceful-shutdown", "1")
    with ExitStack() as stack:
        stack.callback(missing.close)
        started = Servers(
            callee=stack.enter_context(alone("Callee", folder / "callee", "--timeout-keep-alive", str(KEEP_ALIVE_S))),
            orphan=stack.enter_context(alone("Caller", folder / "orphan", TOY_CALLEE_URL=missing.url)),
            uncured_callee=stack.enter_context(alone("Callee", folder / "uncured_callee", TOY_WITHOUT_CURES="1")),
            uncured_orphan=stack.enter_context(
                alone("Caller", folder / "uncured_orphan", *not_waiting, TOY_WITHOUT_CURES="1", TOY_CALLEE_URL=missing.url)
            ),
            missing=missing,
        )
        for server in (started.callee, started.orphan, started.uncured_callee, started.uncured_orphan):
            server.wait_for("/livez")
        yield started


@pytest.fixture(autouse=True)
def output_of_a_failure(servers: Servers) -> Iterator[None]:
    yield
    for server in (servers.callee, servers.orphan):
        print(server.output[-4000:])


# -- 3, 6: a dependency that is down ---------------------------------------------------------------------------------------------


def _assert_not_ready_in_time(orphan: Server) -> None:
    started = time.perf_counter()
    response = httpx.get(f"{orphan.url}/readyz", timeout=READY_WITHIN_S * 3)
    assert time.perf_counter() - started < READY_WITHIN_S
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")
    assert response.headers["retry-after"] == "1"


def test_dead_dependency_makes_a_service_unready_at_once_but_not_dead(servers: Servers) -> None:
    _assert_not_ready_in_time(servers.orphan)
    assert httpx.get(f"{servers.orphan.url}/livez").status_code == 200


def test_silent_dependency_makes_a_service_unready_in_time_but_not_dead(servers: Servers) -> None:
    with servers.missing.accepting_in_silence():
        _assert_not_ready_in_time(servers.orphan)
        assert httpx.get(f"{servers.orphan.url}/livez").status_code == 200


def test_service_that_can_do_without_its_dependency_is_ready(servers: Servers) -> None:
    httpx.post(f"{servers.orphan.url}/need_callee", json={"needed": False}).raise_for_status()
    try:
        assert httpx.get(f"{servers.orphan.url}/readyz", timeout=READY_WITHIN_S).status_code == 200
    finally:
        httpx.post(f"{servers.orphan.url}/need_callee", json={"needed": True}).raise_for_status()


def test_uncured_readiness_hangs_on_a_dead_dependency(servers: Servers) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{servers.uncured_orphan.url}/readyz", timeout=READY_WITHIN_S)


def test_call_of_a_dead_dependency_is_a_503(servers: Servers) -> None:
    response = httpx.post(f"{servers.orphan.url}/nap", json={"seconds": 0.0, "timeout_s": 5.0})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "dependency_unavailable")
    assert response.headers["retry-after"] == "1"


def test_call_of_a_silent_dependency_is_a_504(servers: Servers) -> None:
    with servers.missing.accepting_in_silence():
        response = httpx.post(f"{servers.orphan.url}/nap", json={"seconds": 0.0, "timeout_s": 0.5})
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")


def test_stream_of_a_dead_dependency_ends_with_its_error(servers: Servers) -> None:
    response = httpx.post(f"{servers.orphan.url}/relay", json={"spec": {"count": 3}})
    assert response.json()["error"]["code"] == "dependency_unavailable"


# -- 5: idle sockets -------------------------------------------------------------------------------------------------------------


async def test_calls_at_the_moment_idle_sockets_are_closed_do_not_fail(servers: Servers) -> None:
    async with AsyncClient(servers.callee.url, server_ready_timeout=0) as client:
        for pause_s in (0.0, KEEP_ALIVE_S - 0.005, KEEP_ALIVE_S, KEEP_ALIVE_S + 0.005):
            await asyncio.sleep(pause_s)
            answers = await asyncio.gather(*(call("Callee", client.nap, 5.0, seconds=0.0) for _ in range(20)))
            assert answers == [0.0] * 20


# -- 8: pickle -------------------------------------------------------------------------------------------------------------------


class Attack:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("media_type", [PICKLE, f"{PICKLE}; charset=utf-8", PICKLE.upper()])
def test_pickle_from_the_network_is_refused_and_not_run(servers: Servers, tmp_path: Path, media_type: str) -> None:
    attack = Attack(tmp_path / "attacked")
    response = httpx.post(f"{servers.callee.url}/nap", content=pickle.dumps(attack), headers={"content-type": media_type})
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert not attack.folder.exists()


def test_uncured_pickle_from_the_network_is_run(servers: Servers, tmp_path: Path) -> None:
    attack = Attack(tmp_path / "attacked")
    httpx.post(f"{servers.uncured_callee.url}/nap", content=pickle.dumps(attack), headers={"content-type": PICKLE})
    assert attack.folder.exists()
