"""A gallery of broken and hostile files, through the command line and as an upload: each ends in its error, and the rest goes in."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import finished
from tests.e2e.gallery import TOO_LARGE, archive, gallery
from tests.servers import Server, command, ekiben

MAX_UNPACKED_BYTES = 2_000_000
MAX_ARCHIVE_FILES = 200
MEMBERS_REFUSED = 5
LIMITS = {
    "EKIBEN_INGESTION__MAX_UNPACKED_BYTES": str(MAX_UNPACKED_BYTES),
    "EKIBEN_INGESTION__MAX_ARCHIVE_FILES": str(MAX_ARCHIVE_FILES),
    "EKIBEN_INGESTION__PARSE_TIMEOUT_S": "20",
}
GOOD = {"good.txt": b"A good file among bad ones.", "fine.md": b"# Fine\n\nAnother good file.", "rows.csv": b"station,cats\nKishi,1\n"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ekiben(tmp_path_factory.mktemp("gallery"), **LIMITS) as started:
        yield started


@pytest.fixture(scope="module")
def files() -> dict[str, tuple[bytes, str]]:
    made = gallery(MAX_UNPACKED_BYTES, MAX_ARCHIVE_FILES)
    assert len(made) >= 40
    return made


def test_each_file_of_an_upload_ends_in_its_error_and_the_rest_goes_in(small: Server, files: dict[str, tuple[bytes, str]]):
    sent = [("files", (name, content)) for name, (content, _) in files.items()]
    sent += [("files", (name, content)) for name, content in GOOD.items()]
    job = finished(small, httpx.post(f"{small.url}/v1/documents", files=sent, data={"collection": "uploaded"}, timeout=60))
    assert {result["id"]: result["error"]["code"] for result in job["errors"]} == {name: code for name, (_, code) in files.items()}
    assert job["documents"] == {"created": len(GOOD), "updated": 0, "unchanged": 0, "failed": len(files)}


def test_each_file_on_the_command_line_ends_in_its_error_and_the_rest_goes_in(
    small: Server, files: dict[str, tuple[bytes, str]], tmp_path: Path, monkeypatch
):
    for name, value in LIMITS.items():
        monkeypatch.setenv(name, value)
    for name, content in [*((name, content) for name, (content, _) in files.items()), *GOOD.items()]:
        (tmp_path / name).write_bytes(content)
    done = command("ingest", "--json", "--collection", "ingested", *(str(path) for path in sorted(tmp_path.iterdir())), url=small.url)
    assert done.returncode == 1, done.stderr.decode()
    results = json.loads(done.stdout)["documents"]
    failed = {result["id"]: result["error"]["code"] for result in results if result["state"] == "failed"}
    assert failed == {name: code for name, (_, code) in files.items()}
    assert sorted(result["id"] for result in results if result["state"] == "created") == sorted(GOOD)


def test_hostile_members_of_an_archive_fail_alone_and_nothing_escapes(small: Server, tmp_path: Path):
    sent = [("files", ("pack.zip", archive(MAX_UNPACKED_BYTES)))]
    job = finished(small, httpx.post(f"{small.url}/v1/documents", files=sent, data={"collection": "packed"}, timeout=60))
    assert (job["documents"]["created"], job["documents"]["failed"]) == (1, MEMBERS_REFUSED)
    found = httpx.post(f"{small.url}/v1/search", json={"query": "marmalade", "collections": ["packed"]}, timeout=30).json()["passages"]
    assert [passage["document_id"] for passage in found] == ["pack.zip/good.txt"]
    assert not list(small.folder.parent.glob("**/escape.txt"))


def test_a_file_above_the_limit_is_told_by_its_limit(small: Server, files: dict[str, tuple[bytes, str]]):
    (name,) = [name for name, (_, code) in files.items() if code == TOO_LARGE and name == "bomb.docx"]
    job = finished(small, httpx.post(f"{small.url}/v1/documents", files={"files": (name, files[name][0])}, timeout=60))
    assert "ingestion.max_unpacked_bytes" in job["errors"][0]["error"]["message"]
