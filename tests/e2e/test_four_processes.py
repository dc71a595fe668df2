"""Four processes on four ports, wired by URLs in settings only, give the answers of one `ekiben serve`; and what happens when one dies."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from clients.http_client import EkibenClient
from core.schemas import Answer, AnswerRequest
from pipelines.answering.comparing import differences
from tests.servers import Server, command, service

CLIENTS = 8
WRITE_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Four:
    """The four processes."""

    embedder: Server
    retriever: Server
    generator: Server
    gateway: Server


@pytest.fixture(scope="module")
def requests(questions: list[dict]) -> list[AnswerRequest]:
    """Every fourth question of the sample, in all modes."""
    modes = ("hybrid", "hybrid", "dense", "lexical")
    return [AnswerRequest(question=one["question"], mode=modes[number % 4], top_k=3) for number, one in enumerate(questions[::4])]


@pytest.fixture(scope="module")
def answers(server: Server, requests: list[AnswerRequest]) -> list[Answer]:
    """What one `ekiben serve` answers to one question after the other."""
    return _ask_one_by_one(server, requests)


@pytest.fixture(scope="module")
def four(server: Server, answers: list[Answer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Four]:
    """Over a copy of the one server's store and records."""
    folder = tmp_path_factory.mktemp("four")
    for arguments in (
        ["backup", str(folder / "backup"), "--data", str(server.data)],
        ["restore", str(folder / "backup"), "--data", str(folder / "data")],
    ):
        done = command(*arguments)
        assert done.returncode == 0, done.stderr.decode()
    _copy_records(server, answers, folder / "gateway")
    with ExitStack() as stack:
        verbose = {"EKIBEN_LOGGING__LEVEL": "DEBUG"}  # calls between services are logged at DEBUG
        embedder = stack.enter_context(service("embedder", folder, **verbose))
        known = {"EKIBEN_EMBEDDER__URL": embedder.url, **verbose}
        retriever = stack.enter_context(service("retriever", folder, EKIBEN_RETRIEVER__DATA_DIR=str(folder / "data"), **known))
        generator = stack.enter_context(service("generator", folder, **known))
        known |= {"EKIBEN_RETRIEVER__URL": retriever.url, "EKIBEN_GENERATOR__URL": generator.url}
        gateway = stack.enter_context(service("gateway", folder, **known))
        for one in (embedder, retriever, generator, gateway):
            one.wait_for("/readyz")
        yield Four(embedder, retriever, generator, gateway)


def test_answers_are_those_of_one_process_and_so_is_what_they_are_made_with(four: Four, answers: list[Answer]):
    assert len(answers) > 30
    with EkibenClient(four.gateway.url) as client:
        for answer in answers:
            replay = client.replay(answer.id)
            assert (replay.record.answer, replay.differences, replay.identical) == (answer, (), True)
            assert _scores(replay.answer) == _scores(answer)


def test_answers_do_not_depend_on_what_else_is_asked_at_the_time(four: Four, server: Server, requests: list[AnswerRequest], answers: list[Answer]):
    for url in (server.url, four.gateway.url):
        _assert_same(answers, _ask_at_once(url, requests))


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_two_hundred_answers_are_the_same_in_one_process_and_in_four_alone_and_at_once(four: Four, server: Server, questions: list[dict]):
    requests = [AnswerRequest(question=one["question"]) for one in questions]
    requests += [AnswerRequest(question=one["question"], top_k=8, mode="dense") for one in questions[:71]]
    assert len(requests) == 200
    answers = _ask_one_by_one(server, requests)
    _assert_same(answers, _ask_one_by_one(four.gateway, requests))
    for url in (server.url, four.gateway.url):
        _assert_same(answers, _ask_at_once(url, requests))


def test_a_replay_on_the_command_line_says_that_nothing_has_changed(four: Four, answers: list[Answer]):
    done = command("replay", answers[0].id, url=four.gateway.url)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"the answer is identical\n")


def test_request_id_reaches_every_service_that_works_on_it(four: Four):
    httpx.post(f"{four.gateway.url}/v1/search", json={"query": "viaduct"}, headers={"X-Request-ID": "trace-me-1"}).raise_for_status()
    for one in (four.gateway, four.retriever, four.embedder):
        one.wait_for_output("request_id=trace-me-1")


def test_each_service_refuses_pickle(four: Four):
    for one in (four.embedder, four.retriever, four.generator, four.gateway):
        answer = httpx.post(f"{one.url}/embed", content=b"\x80\x04.", headers={"Content-Type": "application/vnd.bentoml+pickle"})
        assert answer.status_code == 415


def test_dead_generator_degrades_the_answer_and_dead_embedder_leaves_search_by_words(four: Four):
    with EkibenClient(four.gateway.url) as client:
        question = AnswerRequest(question="Which tunnel lies under the Tsugaru Strait?")
        four.generator.kill_all()
        degraded = client.answer(question)
        assert degraded.degraded and degraded.abstained and degraded.passages
        assert all(summary.error and summary.error.code == "dependency_unavailable" for summary in degraded.summaries)
        assert httpx.get(f"{four.gateway.url}/readyz", timeout=5).status_code == 503
        assert httpx.get(f"{four.gateway.url}/livez", timeout=5).status_code == 200

        four.embedder.kill_all()
        found = httpx.post(f"{four.gateway.url}/v1/search", json={"query": "Tsugaru Strait"}, timeout=30).json()
        assert found["degraded"] is True
        assert "seikan" in found["passages"][0]["document_id"]
        refused = httpx.post(f"{four.gateway.url}/v1/search", json={"query": "Tsugaru Strait", "mode": "dense"}, timeout=30)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "dependency_unavailable")

        four.retriever.kill_all()
        refused = httpx.post(f"{four.gateway.url}/v1/answer", json={"question": "Tsugaru Strait"}, timeout=30)
        assert (refused.status_code, refused.json()["error"]["retryable"]) == (503, True)
        status = client.status()
        assert not status.ready and len(status.problems) == 2


def _ask_one_by_one(server: Server, requests: Sequence[AnswerRequest]) -> list[Answer]:
    with EkibenClient(server.url) as client:
        return [client.answer(request) for request in requests]


def _ask_at_once(url: str, requests: Sequence[AnswerRequest]) -> list[Answer]:
    with EkibenClient(url) as client, ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(client.answer, requests))


def _assert_same(expected: Sequence[Answer], answers: Sequence[Answer]) -> None:
    for before, after in zip(expected, answers, strict=True):
        assert differences(before, after) == ()
        assert _scores(before) == _scores(after)


def _scores(answer: Answer) -> list[tuple[float, float | None, float | None]]:
    return [(passage.score, passage.scores.dense, passage.scores.lexical) for passage in answer.passages]


def _copy_records(server: Server, answers: Sequence[Answer], folder: Path) -> None:
    """The records of a running server, when they are written."""
    (folder / "records").mkdir(parents=True)
    end = time.monotonic() + WRITE_TIMEOUT_S
    with (
        closing(sqlite3.connect(server.data / "records" / "records.db")) as source,
        closing(sqlite3.connect(folder / "records" / "records.db")) as copy,
    ):
        while not source.execute("SELECT 1 FROM records WHERE id = ?", (answers[-1].id,)).fetchone():
            assert time.monotonic() < end, "the answers were not recorded"
            time.sleep(0.05)
        source.backup(copy)
