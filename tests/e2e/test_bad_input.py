"""The worst input at every entrance of a real server: its documented error, and a store that still verifies."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from clients.http_client import EkibenClient
from core.errors import all_errors
from core.schemas import Document, SearchRequest
from services.retriever import integrity
from services.retriever.folder import current_name
from tests.e2e.conftest import finished
from tests.servers import Server, command, ekiben, free_port

JSON = {"Content-Type": "application/json"}
MEGABYTE = b"x" * (1 << 20)

BAD_REQUESTS = [
    ("malformed JSON", "/v1/answer", b'{"question": ', JSON, 400, "malformed_body"),
    ("not UTF-8", "/v1/answer", b'{"question": "\xff"}', JSON, 400, "malformed_body"),
    ("empty body", "/v1/answer", b"", JSON, 422, "invalid_request"),
    ("an array", "/v1/answer", b"[]", JSON, 422, "invalid_request"),
    ("unknown field", "/v1/answer", b'{"question": "x", "qestion": "x"}', JSON, 422, "invalid_request"),
    ("empty question", "/v1/answer", b'{"question": ""}', JSON, 422, "invalid_request"),
    ("blank question", "/v1/answer", b'{"question": " \\n "}', JSON, 422, "invalid_request"),
    ("100,000 characters", "/v1/answer", b'{"question": "' + b"why " * 25_000 + b'"}', JSON, 422, "invalid_request"),
    ("top_k 0", "/v1/answer", b'{"question": "x", "top_k": 0}', JSON, 422, "invalid_request"),
    ("top_k 10**9", "/v1/answer", b'{"question": "x", "top_k": 1000000000}', JSON, 422, "invalid_request"),
    ("top_k a string", "/v1/search", b'{"query": "x", "top_k": "3"}', JSON, 422, "invalid_request"),
    ("unknown mode", "/v1/search", b'{"query": "x", "mode": "magic"}', JSON, 422, "invalid_request"),
    ("filter of a wrong shape", "/v1/search", b'{"query": "x", "filters": {"a": {"near": 1}}}', JSON, 422, "invalid_request"),
    ("collection with a slash", "/v1/search", b'{"query": "x", "collections": ["../x"]}', JSON, 422, "invalid_request"),
    ("wrong content type", "/v1/answer", b"question=x", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
    ("no content type", "/v1/answer", b'{"question": "x"}', {}, 415, "unsupported_media_type"),
    ("pickle", "/v1/answer", b"\x80\x04.", {"Content-Type": "application/vnd.bentoml+pickle"}, 415, "unsupported_media_type"),
    ("documents: malformed", "/v1/documents", b"{", JSON, 400, "malformed_body"),
    ("documents: nested 100,000 deep", "/v1/documents", b"[" * 100_000, JSON, 400, "malformed_body"),
    ("documents: none", "/v1/documents", b'{"documents": []}', JSON, 422, "invalid_request"),
    ("documents: form without files", "/v1/documents", b"--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}, 422, "invalid_request"),
    ("documents: form without boundary", "/v1/documents", b"x", {"Content-Type": "multipart/form-data"}, 400, "malformed_body"),
    ("no such route", "/v1/nothing", b"{}", JSON, 404, "not_found"),
]


@pytest.fixture(autouse=True)
def _store_stays_sound(server: Server) -> Iterator[None]:
    yield
    assert faults(server) == []


def faults(server: Server) -> list[str]:
    database = sqlite3.connect(f"file:{server.data / current_name(server.data)}?mode=rw", uri=True)
    try:
        return list(integrity.faults(database, 384))
    finally:
        database.close()


@pytest.mark.parametrize(("path", "body", "headers", "status", "code"), [case[1:] for case in BAD_REQUESTS], ids=[case[0] for case in BAD_REQUESTS])
def test_bad_request_is_answered_with_its_error(server: Server, path: str, body: bytes, headers: dict, status: int, code: str):
    answer = httpx.post(server.url + path, content=body, headers=headers, timeout=30)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert error["request_id"] == answer.headers["x-request-id"]
    assert code in {cls.code for cls in all_errors()}


@pytest.mark.parametrize("with_length", [True, False], ids=["length announced", "length unknown"])
def test_200_megabytes_are_refused_while_they_arrive(server: Server, with_length: bool):
    headers = {**JSON, **({"Content-Length": str(200 * len(MEGABYTE))} if with_length else {})}
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(200):
            sent += 1
            yield MEGABYTE

    try:
        answer = httpx.post(f"{server.url}/v1/documents", content=body(), headers=headers, timeout=60)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")
    except httpx.WriteError:
        # The server closed the connection on a client that went on sending.
        assert sent < 200
    httpx.get(f"{server.url}/readyz", timeout=10).raise_for_status()


def test_bad_files_fail_alone(server: Server):
    files = [
        ("files", ("fake.pdf", b"this is no PDF")),
        ("files", ("empty.txt", b"")),
        ("files", ("binary.txt", bytes(range(256)) * 20)),
        ("files", ("music.mp3", b"ID3")),
        ("files", ("../../good.txt", b"The signal box at Little Wobbleton has nine levers.")),
    ]
    job = finished(server, httpx.post(f"{server.url}/v1/documents", files=files, timeout=60))
    assert {result["id"]: result["error"]["code"] for result in job["errors"]} == {
        "fake.pdf": "document_unreadable",
        "empty.txt": "document_empty",
        "binary.txt": "document_unreadable",
        "music.mp3": "unsupported_format",
    }
    assert job["documents"] == {"created": 1, "updated": 0, "unchanged": 0, "failed": 4}
    httpx.delete(f"{server.url}/v1/documents/good.txt").raise_for_status()


def test_bad_documents_of_a_batch_fail_alone(server: Server):
    documents = [{"id": "fine", "text": "A fine document."}, {"text": "no id"}, {"id": "blank", "text": " "}, 7, {"id": "fine", "text": "Twice."}]
    results = httpx.post(f"{server.url}/v1/documents", json={"documents": documents}, timeout=60).json()["documents"]
    codes = [result["error"]["code"] if result["error"] else result["state"] for result in results]
    assert codes == ["created", "invalid_request", "document_empty", "invalid_request", "invalid_request"]
    httpx.delete(f"{server.url}/v1/documents/fine").raise_for_status()


@pytest.mark.parametrize(
    "query", ['"', "AND OR NOT", "col:value", "NEAR(", "a*", "(((", "'; DROP TABLE documents; --", "🚂" * 50, "\x00", "-" * 1000]
)
def test_any_text_is_a_query_and_never_syntax(server: Server, query: str):
    for mode in ("lexical", "hybrid"):
        answer = httpx.post(f"{server.url}/v1/search", json={"query": query, "mode": mode}, timeout=30)
        assert answer.status_code == 200


def test_user_text_is_not_logged(server: Server):
    httpx.post(f"{server.url}/v1/answer", json={"question": "xyzzy-secret-question", "top_k": 0}, timeout=30)
    httpx.post(f"{server.url}/v1/answer", json={"question": "xyzzy-secret-question"}, timeout=60)
    assert "xyzzy" not in server.output


def test_second_server_on_the_same_store_is_refused(server: Server):
    refused = command("serve", "--data", str(server.data), "--port", str(free_port()))
    assert refused.returncode == 6
    assert b"another process" in refused.stderr


def test_full_disk_refuses_documents_and_loses_nothing(tmp_path: Path):
    with ekiben(tmp_path, max_file_bytes=3 << 20) as small, EkibenClient(small.url) as client:
        stored = []
        for number in range(60):
            # Words that the tokenizer gives up on fill the disk and cost the encoder little.
            text = f"Document {number} is about subject{number}. " + "".join(f"{number:>03}{place:>0117} " for place in range(1_000))
            body = {"documents": [Document(id=str(number), text=text).model_dump(mode="json")]}
            result = httpx.post(f"{small.url}/v1/documents", json=body, timeout=120).json()["documents"][0]
            if result["error"]:
                break
            stored.append(number)
        assert stored
        assert result["error"]["code"] == "storage_full"
        assert client.status().store.documents == len(stored)
        found = client.search(SearchRequest(query=f"subject{stored[-1]}", mode="lexical")).passages
        assert found[0].document_id == str(stored[-1])
    assert faults(small) == []
