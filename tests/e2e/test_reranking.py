"""A cross-encoder in the Embedder orders what searches find, through running services; what happens when it is late or gone."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import torch

from core.schemas import RerankItem
from services.embedder.reranker import CrossEncoderReranker
from services.model_source import weights_sha256
from tests.faults.tiny_encoder import save_tiny_encoder
from tests.servers import Server, command, ekiben, service
from tests.tiny_models import save_tiny_cross_encoder

SUBJECTS = ("tunnel", "bridge", "station", "squid", "engine")
DOCUMENTS = {f"{n}.txt": f"The {SUBJECTS[n % 5]} number {n} was opened in {1900 + n} near the {SUBJECTS[n * 3 % 5]} of {n * 7}." for n in range(30)}
QUESTION = "When was the tunnel opened near the bridge?"
MODES = ("dense", "lexical", "hybrid")
CANDIDATES = 12
TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Reranked:
    """The Embedder alone, the other services, and the cross-encoder that the Embedder runs."""

    embedder: Server
    server: Server
    model: Path

    def search(self, mode: str = "hybrid", top_k: int = 5, **options: object) -> dict:
        body = {"query": QUESTION, "mode": mode, "top_k": top_k} | options
        return httpx.post(f"{self.server.url}/v1/search", json=body, timeout=30).raise_for_status().json()


@pytest.fixture(scope="module")
def reranked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reranked]:
    folder = tmp_path_factory.mktemp("reranked")
    texts = [*DOCUMENTS.values(), QUESTION]
    model = save_tiny_cross_encoder(folder / "cross-encoder", texts)
    (folder / "documents").mkdir()
    for name, text in DOCUMENTS.items():
        (folder / "documents" / name).write_text(text)
    models = {
        "EKIBEN_EMBEDDER__MODEL": str(save_tiny_encoder(folder, texts)),
        "EKIBEN_EMBEDDER__RERANKER": f"{model}@sha256:{weights_sha256(model)}",
    }
    with service("embedder", folder, **models) as embedder:
        embedder.wait_for("/readyz")
        # The other services have no setting of a reranker: the Embedder says that it runs one.
        known = {
            "EKIBEN_EMBEDDER__URL": embedder.url,
            "EKIBEN_RETRIEVER__RERANK_CANDIDATES": str(CANDIDATES),
            "EKIBEN_RETRIEVER__RERANK_TIMEOUT_S": str(TIMEOUT_S),
            "EKIBEN_ANSWERING__MIN_CONFIDENCE": "0",
        }
        with ekiben(folder, **known) as server:
            ingested = command("ingest", str(folder / "documents"), url=server.url)
            assert ingested.returncode == 0, ingested.stderr.decode()
            yield Reranked(embedder, server, model)


@pytest.mark.parametrize("mode", MODES)
def test_the_best_of_the_candidates_come_in_the_order_of_the_reranker(reranked: Reranked, mode: str):
    candidates = reranked.search(mode, top_k=CANDIDATES, rerank=False)["passages"]
    model = CrossEncoderReranker(reranked.model, name="tiny", device="cpu", dtype=torch.float32, max_batch_tokens=64)
    items = [RerankItem(query=QUESTION, text=f"{one['title']}\n{one['text']}" if one["title"] else one["text"]) for one in candidates]
    scores = {one["chunk_id"]: scored.score for one, scored in zip(candidates, model.score(items)[0], strict=True)}
    expected = sorted(scores, key=lambda chunk: -scores[chunk])[:5]

    found = reranked.search(mode)
    assert [one["chunk_id"] for one in found["passages"]] == expected != [one["chunk_id"] for one in candidates[:5]]
    assert [one["score"] for one in found["passages"]] == pytest.approx([scores[chunk] for chunk in expected], abs=1e-5)
    assert all(one["scores"]["rerank"] == one["score"] for one in found["passages"])
    assert (found["degraded"], found["timings_ms"]["rerank"] > 0) == (False, True)
    assert all(one["scores"]["rerank"] is None for one in candidates)


def test_searches_at_once_share_batches_and_get_their_own_scores(reranked: Reranked):
    expected = [(one["chunk_id"], round(one["score"], 4)) for one in reranked.search()["passages"]]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: reranked.search(), range(48)))
    assert [answer["notes"] for answer in answers] == [[]] * 48
    assert all([(one["chunk_id"], round(one["score"], 4)) for one in answer["passages"]] == expected for answer in answers)
    metrics = httpx.get(f"{reranked.embedder.url}/metrics", timeout=10).text
    assert 'ekiben_batch_items_count{operation="rerank",service="embedder"}' in metrics


def test_an_answer_rests_on_the_reranked_passages_unless_it_is_asked_not_to(reranked: Reranked):
    for options, expected in (({}, reranked.search()), ({"rerank": False}, reranked.search(rerank=False))):
        answer = httpx.post(f"{reranked.server.url}/v1/answer", json={"question": QUESTION} | options, timeout=30).raise_for_status().json()
        assert [one["chunk_id"] for one in answer["passages"]] == [one["chunk_id"] for one in expected["passages"]]
        assert answer["citations"] and all(citation["verified"] for citation in answer["citations"])


def test_the_command_line_can_leave_it_out_and_the_status_names_the_model(reranked: Reranked):
    found, plain = (command("search", QUESTION, *flags, url=reranked.server.url).stdout for flags in ((), ("--no-rerank",)))
    assert found != plain
    status = command("status", url=reranked.server.url).stdout.decode()
    assert f"reranker   {reranked.model}, float32 on" in status
    assert weights_sha256(reranked.model)[:16] in status


def test_a_late_and_then_a_dead_reranker_leave_the_order_found(reranked: Reranked):
    """The last test of this file: it ends the Embedder."""
    plain = reranked.search("lexical", rerank=False)
    family = [psutil.Process(reranked.embedder.process.pid), *psutil.Process(reranked.embedder.process.pid).children(recursive=True)]
    for process in family:
        process.send_signal(signal.SIGSTOP)
    late = reranked.search("lexical")
    for process in family:
        process.send_signal(signal.SIGCONT)
    reranked.embedder.kill_all()
    dead = reranked.search("lexical")
    for found in (late, dead):
        assert (found["passages"], found["degraded"]) == (plain["passages"], True)
    assert late["notes"] == [f"not reranked: the Embedder did not answer within {TIMEOUT_S:g} s"]
    assert dead["notes"][0].startswith("not reranked: the Embedder can't be reached")
