"""Four processes on four ports, wired by URLs in settings only, give the answers of one `ekiben serve`; and what happens when one dies."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest

from clients.http_client import EkibenClient
from core.schemas import Answer, AnswerRequest
from tests.e2e.conftest import SAMPLE
from tests.servers import Server, command, service


@dataclass(frozen=True)
class Four:
    """The four processes."""

    embedder: Server
    retriever: Server
    generator: Server
    gateway: Server


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Four]:
    folder = tmp_path_factory.mktemp("four")
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
        ingested = command("ingest", str(SAMPLE / "documents"), url=gateway.url)
        assert ingested.returncode == 0, ingested.stderr.decode()
        yield Four(embedder, retriever, generator, gateway)


def test_answers_are_those_of_one_process(four: Four, client: EkibenClient, questions: list[dict]):
    with EkibenClient(four.gateway.url) as other:
        for question in questions[::12]:
            request = AnswerRequest(question=question["question"])
            assert _content(other.answer(request)) == _content(client.answer(request))


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


def _content(answer: Answer) -> Answer:
    """Without what differs between any two runs; cosines to six digits, because pickle keeps floats and the order of a batch's sums may differ."""
    passages = tuple(
        passage.model_copy(update={"score": round(passage.score, 5), "scores": (round(passage.scores.dense or 0, 5), passage.scores.lexical)})
        for passage in answer.passages
    )
    confidence = round(answer.confidence or 0, 3)
    return answer.model_copy(update={"id": "", "timings_ms": {}, "passages": passages, "confidence": confidence})
