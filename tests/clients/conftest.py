import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from clients import cli, connection, http_client
from clients.http_client import EkibenClient
from tests.clients.fake_gateway import FakeGateway


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    exit_code: int
    out: str
    err: str


Run = Callable[..., Done]


def _our_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.upper().startswith("EKIBEN_")}


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """No settings from outside, and none left behind: `--config` and `serve` write to the environment for the processes they start."""
    before = _our_variables()
    for name in before:
        del os.environ[name]
    yield
    for name in _our_variables():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.txt", "b.md", "sub/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"The text of {name}.")
    return tmp_path


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that retries and polls would have waited; nothing really waits."""
    slept: list[float] = []
    monkeypatch.setattr(connection, "_wait", lambda _, seconds: slept.append(seconds))
    return slept


@pytest.fixture
def run_cli(gateway: FakeGateway, waits: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ekiben` in this process, against the fake gateway."""
    monkeypatch.setattr(http_client, "EkibenClient", lambda url, **given: EkibenClient(url, **given, transport=httpx.MockTransport(gateway)))

    def run(*arguments: str) -> Done:
        monkeypatch.setattr("sys.argv", ["ekiben", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    return run
