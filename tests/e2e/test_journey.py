"""The main job through the real services: documents in, cited answers out."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from clients.http_client import EkibenClient
from core.schemas import AnswerRequest, SearchRequest
from tests.e2e.conftest import SAMPLE, finished
from tests.servers import ROOT, Server, command, ekiben, free_port


def test_demo_ends_in_a_cited_answer_and_stays_up_until_interrupted(tmp_path: Path):
    port = free_port()
    arguments = [sys.executable, "-m", "clients", "demo", "--port", str(port), "--data", str(tmp_path)]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True) as demo:
        assert demo.stdout is not None
        shown = ""
        for line in demo.stdout:
            shown += line
            if "described at" in line:
                break
        still_up = httpx.get(f"http://127.0.0.1:{port}/readyz").status_code
        os.kill(demo.pid, signal.SIGINT)
        assert demo.wait(30) == 0
    assert "calico cat named Tama" in shown
    assert "[1] tama, characters 129 to 228" in shown
    assert still_up == 200


def test_every_citation_stands_in_the_stored_text(client: EkibenClient, questions: list[dict]):
    checked = 0
    for question in questions[::8]:
        answer = client.answer(AnswerRequest(question=question["question"]))
        for citation in answer.citations:
            document = client.get(citation.document_id)
            assert document.text[citation.start : citation.end] == citation.quote
            assert citation.verified
            checked += 1
        assert answer.abstained == (not answer.citations)
        assert set(answer.timings_ms) >= {"retrieve", "total"}
    assert checked > 15


def test_answerable_questions_find_their_document_and_others_are_refused(client: EkibenClient, questions: list[dict]):
    answerable = [question for question in questions if question["answerable"]]
    others = [question for question in questions if not question["answerable"]]
    found = sum(
        any(passage.document_id in question["documents"] for passage in client.search(SearchRequest(query=question["question"])).passages)
        for question in answerable
    )
    answered = sum(not client.answer(AnswerRequest(question=question["question"])).abstained for question in answerable[::5])
    refused = sum(client.answer(AnswerRequest(question=question["question"])).abstained for question in others)
    assert found >= 0.95 * len(answerable)
    assert answered >= 0.9 * len(answerable[::5])
    assert refused >= 0.4 * len(others)


def test_second_ingest_changes_nothing(server: Server, client: EkibenClient):
    before = client.status().store
    again = command("ingest", str(SAMPLE / "documents"), "--json", url=server.url)
    assert again.returncode == 0
    assert json.loads(again.stdout)["counts"] == {"unchanged": 42}
    assert client.status().store == before


def test_uploaded_file_can_be_asked_about_and_is_gone_when_deleted(server: Server, client: EkibenClient):
    text = "# Bridge log\n\nThe Quillfeather viaduct was repainted in vermilion in 1931."
    uploaded = httpx.post(f"{server.url}/v1/documents", files={"files": ("bridge log.md", text)}, timeout=60)
    assert finished(server, uploaded)["documents"]["created"] == 1
    question = AnswerRequest(question="What colour was the Quillfeather viaduct repainted in?")
    assert "vermilion" in client.answer(question).answer
    client.delete("bridge log.md")
    for mode in ("dense", "lexical", "hybrid"):
        passages = client.search(SearchRequest(query="Quillfeather viaduct vermilion", mode=mode)).passages
        assert "bridge log.md" not in {passage.document_id for passage in passages}


def test_answers_survive_restart_and_kill(tmp_path: Path):
    request = AnswerRequest(question="How high is the pass?")
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "pass.txt").write_text("The pass is 2,106 metres high. It is closed in winter.")
    with ekiben(tmp_path) as first, EkibenClient(first.url) as client:
        assert command("ingest", str(folder), url=first.url).returncode == 0
        expected = client.answer(request)
        assert "2,106" in expected.answer
        first.kill_all()
    with ekiben(tmp_path) as second, EkibenClient(second.url) as client:
        assert client.answer(request).passages == expected.passages
        assert second.terminate() == 0
    assert "Traceback" not in second.output
