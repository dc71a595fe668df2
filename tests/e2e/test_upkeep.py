"""Another model, backups and verification through the command line, on running services that answer all the while."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from clients.http_client import EkibenClient
from core.schemas import AnswerRequest, ConditionDifference
from tests.faults.tiny_encoder import save_tiny_encoder
from tests.servers import Server, command, ekiben

DOCUMENTS = {f"station-{n}.txt": f"The station of Wobbleton {n} has {n + 2} platforms and a clock tower built in 18{n + 10}." for n in range(60)}


@contextmanager
def _asking(server: Server) -> Iterator[list[str]]:
    """Searches go on in all modes; every answer that is no full one is in the list."""
    stop, failures = threading.Event(), []

    def ask() -> None:
        asked = 0
        while not stop.is_set() or not asked:
            body = {"query": "Which station has 12 platforms?", "mode": ("dense", "lexical", "hybrid")[asked % 3]}
            answer = httpx.post(f"{server.url}/v1/search", json=body, timeout=30)
            if answer.status_code != 200 or answer.json()["degraded"] or not answer.json()["passages"]:
                failures.append(answer.text)
            asked += 1

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield failures
    finally:
        stop.set()
        asker.join()


def _fingerprint(server: Server) -> str:
    return str(httpx.get(f"{server.url}/v1/status", timeout=30).json()["store"]["encoder"]["fingerprint"])


def test_another_model_and_a_restored_backup_take_over_without_a_failed_question(tmp_path: Path):
    texts = list(DOCUMENTS.values())
    first = save_tiny_encoder(tmp_path / "first", texts[::2])
    second = save_tiny_encoder(tmp_path / "second", [*texts, "Which station?"])
    folder = tmp_path / "documents"
    folder.mkdir()
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text)
    copy = tmp_path / "copy.db"

    with ekiben(tmp_path, EKIBEN_EMBEDDER__MODEL=str(first), EKIBEN_EMBEDDER__NEXT_MODEL=str(second)) as server:
        assert command("ingest", str(folder), url=server.url).returncode == 0
        before = _fingerprint(server)
        with _asking(server) as failures:
            reindexed = command("reindex", url=server.url)
            assert reindexed.returncode == 0, reindexed.stderr.decode()
            assert _fingerprint(server) != before
            saved = command("backup", str(copy), "--data", str(server.data))
            assert saved.returncode == 0, saved.stderr.decode()
            httpx.delete(f"{server.url}/v1/documents/station-3.txt", timeout=30).raise_for_status()
            restored = command("restore", str(copy), "--data", str(server.data))
            assert restored.returncode == 0, restored.stderr.decode()
        assert failures == []
        assert httpx.get(f"{server.url}/v1/documents/station-3.txt", timeout=30).status_code == 200
        receipt = json.loads(command("compact", "--json", url=server.url).stdout)
        assert receipt["bytes_after"] > 0
        assert server.terminate() == 0
    verified = command("verify", "--data", str(server.data))
    assert verified.returncode == 0, verified.stdout.decode()

    with ekiben(tmp_path, EKIBEN_EMBEDDER__MODEL=str(second)) as server, _asking(server) as failures:
        assert _fingerprint(server) != before
    assert failures == []


@pytest.mark.slow
def test_an_index_made_in_float32_is_searched_in_bfloat16_and_a_replay_says_so(tmp_path: Path):
    body = {"id": "seven", "text": DOCUMENTS["station-7.txt"]}
    with ekiben(tmp_path, EKIBEN_EMBEDDER__DTYPE="float32") as server, EkibenClient(server.url) as client:
        httpx.post(f"{server.url}/v1/documents", json={"documents": [body]}, timeout=30).raise_for_status()
        before, answer = _fingerprint(server), client.answer(AnswerRequest(question="How many platforms has Wobbleton 7?"))
        assert server.terminate() == 0
    with ekiben(tmp_path, EKIBEN_EMBEDDER__DTYPE="bfloat16") as server, EkibenClient(server.url) as client:
        encoder = httpx.get(f"{server.url}/v1/status", timeout=30).json()["store"]["encoder"]
        assert (encoder["fingerprint"], encoder["dtype"], encoder["engine"]) == (before, "bfloat16", "packed")
        replay = client.replay(answer.id)
        assert [passage.document_id for passage in replay.answer.passages] == ["seven"]
        assert ConditionDifference(kind="setting", name="embedder.dtype", before="float32", after="bfloat16") in replay.differences
