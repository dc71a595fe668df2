"""One real server for all end-to-end tests, with the sample documents in it."""

import json
import time
from collections.abc import Iterator

import httpx
import pytest

from clients.http_client import EkibenClient
from tests.servers import ROOT, Server, command, ekiben

JOB_TIMEOUT_S = 60.0
SAMPLE = ROOT / "data" / "sample"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ekiben(tmp_path_factory.mktemp("server")) as started:
        ingested = command("ingest", str(SAMPLE / "documents"), "--json", url=started.url)
        assert ingested.returncode == 0, ingested.stderr.decode()
        yield started


def finished(server: Server, answer: httpx.Response) -> dict:
    """The job that `answer` accepted, when it has ended."""
    assert answer.status_code == 202, answer.text
    end = time.monotonic() + JOB_TIMEOUT_S
    while True:
        job = httpx.get(server.url + answer.headers["location"], timeout=30).raise_for_status().json()
        if job["state"] in ("done", "cancelled"):
            return job
        assert time.monotonic() < end, job
        time.sleep(0.05)


@pytest.fixture
def client(server: Server) -> Iterator[EkibenClient]:
    with EkibenClient(server.url) as opened:
        yield opened


@pytest.fixture(scope="session")
def questions() -> list[dict]:
    return [json.loads(line) for line in (SAMPLE / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
