import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from clients.cli import ExitCode
from core.errors import Internal, StorageFull
from tests.clients.conftest import Run
from tests.clients.fake_gateway import FakeGateway, error_answer


def test_a_second_run_finds_everything_unchanged(run_cli: Run, folder: Path, gateway: FakeGateway) -> None:
    assert run_cli("ingest", str(folder)).out == "3 created\n"
    assert run_cli("ingest", str(folder)).out == "3 unchanged\n"
    (folder / "a.txt").write_text("Changed.")
    done = run_cli("ingest", str(folder), "--collection", "default")
    assert (done.exit_code, done.out) == (ExitCode.OK, "1 updated, 2 unchanged\n")
    assert sorted(gateway.stored) == [("default", "a.txt"), ("default", "b.md"), ("default", "sub/c.txt")]


def test_failed_documents_are_named_and_the_rest_is_stored(run_cli: Run, folder: Path, gateway: FakeGateway) -> None:
    (folder / "empty.txt").write_text("")
    (folder / "image.png").write_text("x")
    done = run_cli("ingest", str(folder), str(folder / "image.png"), str(folder / "nothing.txt"))
    assert (done.exit_code, done.out) == (ExitCode.SOME_FAILED, "3 created, 3 failed\n")
    for code in ("(document_empty)", "(unsupported_format)", "(document_unreadable)"):
        assert code in done.err
    assert len(gateway.stored) == 3


def test_a_file_name_that_is_no_text_fails_alone(run_cli: Run, folder: Path) -> None:
    (folder / os.fsdecode(b"bad\xff.txt")).write_text("x")
    done = run_cli("ingest", str(folder), "--json")
    assert (done.exit_code, json.loads(done.out)["counts"]) == (ExitCode.SOME_FAILED, {"created": 3, "failed": 1})


def test_standard_input_is_ingested_under_its_name(run_cli: Run, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"# Title\n\nText.")))
    assert run_cli("ingest", "-", "--name", "in.md").out == "1 created\n"
    assert gateway.stored["default", "in.md"].title == "Title"


def test_nothing_to_ingest_is_said(run_cli: Run, tmp_path: Path, gateway: FakeGateway) -> None:
    assert run_cli("ingest", str(tmp_path)).out == "nothing to ingest\n"
    assert gateway.requests == []


@pytest.mark.parametrize("failure", [error_answer(StorageFull("the disk is full")), error_answer(Internal("a fault")), httpx.ReadError("gone")])
def test_what_was_stored_before_the_server_died_is_told(
    run_cli: Run, gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: httpx.Response | Exception
) -> None:
    (tmp_path / "many.jsonl").write_text("\n".join(json.dumps({"id": str(number), "text": "x"}) for number in range(100)))
    add = gateway._add

    def dying(request: httpx.Request) -> httpx.Response:
        if gateway.batches:
            if isinstance(failure, Exception):
                raise failure
            return failure
        return add(request)

    monkeypatch.setattr(gateway, "_add", dying)
    done = run_cli("ingest", str(tmp_path))
    assert (done.exit_code, done.out) == (ExitCode.SERVER_ERROR, "64 created\n")
    assert done.err.startswith("ekiben: ")
