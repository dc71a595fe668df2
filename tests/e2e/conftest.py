"""One real server for all end-to-end tests, with the sample documents in it."""

import json
from collections.abc import Iterator

import pytest

from clients.http_client import EkibenClient
from tests.servers import ROOT, Server, command, ekiben

SAMPLE = ROOT / "data" / "sample"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ekiben(tmp_path_factory.mktemp("server")) as started:
        ingested = command("ingest", str(SAMPLE / "documents"), "--json", url=started.url)
        assert ingested.returncode == 0, ingested.stderr.decode()
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[EkibenClient]:
    with EkibenClient(server.url) as opened:
        yield opened


@pytest.fixture(scope="session")
def questions() -> list[dict]:
    return [json.loads(line) for line in (SAMPLE / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
