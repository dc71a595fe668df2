import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from clients.exit_codes import ExitCode
from clients.ingesting.comparing import Comparison
from clients.ingesting.outcomes import Outcome
from core.errors import Internal, NotReady, StorageFull
from core.schemas import Document
from pipelines.ingestion.refusing import Loaded
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
def test_what_was_stored_before_the_server_died_is_told_and_the_next_run_stores_the_rest(
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

    with monkeypatch.context() as patched:
        patched.setattr(gateway, "_add", dying)
        done = run_cli("ingest", str(tmp_path))
    stored = len(gateway.stored)
    assert (done.exit_code, done.out) == (ExitCode.SERVER_ERROR, f"{stored} created\n")
    assert done.err.startswith("ekiben: ")
    assert 0 < stored < 100
    assert run_cli("ingest", str(tmp_path)).out == f"{100 - stored} created, {stored} unchanged\n"
    sent = [one.id for batch in gateway.batches for one in batch]
    assert len(sent) == len(set(sent)) == 100


def test_a_server_that_comes_back_in_time_costs_no_document(run_cli: Run, gateway: FakeGateway, tmp_path: Path, waits: list[float]) -> None:
    (tmp_path / "many.jsonl").write_text("\n".join(json.dumps({"id": str(number), "text": "x"}) for number in range(100)))
    listed = gateway._list

    def then_gone(request: httpx.Request) -> httpx.Response:
        gateway.failures = [httpx.ReadError("reset"), *[httpx.ConnectError("refused")] * 8, error_answer(NotReady("starting"))]
        return listed(request)

    gateway._list = then_gone  # type: ignore[method-assign]
    assert run_cli("ingest", str(tmp_path)).out == "100 created\n"
    assert len(waits) == 10


def test_ctrl_c_ends_a_run_after_what_is_in_flight_and_the_next_one_goes_on(
    run_cli: Run, gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}.txt").write_text(f"Text {number}.")
    judge = Comparison.judge

    def interrupted(self: Comparison, loaded: Loaded) -> Document | Outcome:
        if loaded.id == "20.txt":
            raise KeyboardInterrupt
        return judge(self, loaded)

    with monkeypatch.context() as patched:
        patched.setattr(Comparison, "judge", interrupted)
        done = run_cli("ingest", str(tmp_path))
    assert (done.exit_code, done.out) == (ExitCode.INTERRUPTED, f"{len(gateway.stored)} created\n")
    assert len(gateway.stored) >= 8
    assert f"{30 - len(gateway.stored)} created" in run_cli("ingest", str(tmp_path)).out


def test_results_come_in_the_order_of_the_input(run_cli: Run, tmp_path: Path) -> None:
    lines = [json.dumps({"id": f"j{number}", "text": "x"}) if number % 7 else "broken" for number in range(200)]
    (tmp_path / "b.jsonl").write_text("\n".join(lines))
    for name in ("a.txt", "c.txt", "d.txt"):
        (tmp_path / name).write_text("" if name == "c.txt" else "Some text.")
    expected = ["a.txt", *(f"j{number}" if number % 7 else f"b.jsonl:{number + 1}" for number in range(200)), "c.txt", "d.txt"]
    assert [one["id"] for one in json.loads(run_cli("ingest", str(tmp_path), "--json").out)["documents"]] == expected


def test_a_document_that_occurs_twice_is_stored_once(run_cli: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    for name, text in {"a.jsonl": "first", "b.jsonl": "second"}.items():
        (tmp_path / name).write_text(json.dumps({"id": "x", "text": text}))
    for state in ("created", "unchanged"):
        done = run_cli("ingest", str(tmp_path))
        assert (done.exit_code, done.out) == (ExitCode.SOME_FAILED, f"1 {state}, 1 failed\n")
        assert "'x' occurs twice" in done.err
    assert gateway.stored["default", "x"].text == "first"


def test_what_is_stored_is_not_sent_again(run_cli: Run, folder: Path, gateway: FakeGateway) -> None:
    (folder / "windows.txt").write_bytes("Zwei\r\nZeilen, e\u0301.".encode())
    run_cli("ingest", str(folder))
    gateway.batches.clear()
    gateway.requests.clear()
    documents = json.loads(run_cli("ingest", str(folder), "--json").out)["documents"]
    assert [(one["state"], one["chunks"]) for one in documents] == [("unchanged", 1)] * 4
    assert (gateway.batches, gateway.writes) == ([], [])


def test_the_keys_of_json_documents_can_be_named(run_cli: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"nr": "n1", "head": "H", "body": {"de": "Text."}}]))
    assert run_cli("ingest", str(tmp_path), "--fields", "id=nr,title=head,text=body.de").out == "1 created\n"
    stored = gateway.stored["default", "n1"]
    assert (stored.title, stored.text) == ("H", "Text.")


# -- --dry-run --------------------------------------------------------------------------------------------------------------------


def test_a_dry_run_tells_what_would_be_and_changes_nothing(run_cli: Run, folder: Path, gateway: FakeGateway) -> None:
    for name in ("old.txt", "a.txt"):
        gateway.stored["default", name] = Document(id=name, text="Before.")
    before = dict(gateway.stored)
    (folder / "empty.txt").write_text("")
    done = run_cli("ingest", str(folder), "--sync", "--dry-run")
    assert (done.exit_code, gateway.writes, gateway.stored) == (ExitCode.SOME_FAILED, [], before)
    assert done.out == (
        "created b.md\ncreated sub/c.txt\nupdated a.txt\ndeleted old.txt\n2 created, 1 updated, 1 deleted, 1 failed (dry run: nothing was changed)\n"
    )
    told = json.loads(run_cli("ingest", str(folder), "--sync", "--dry-run", "--json").out)
    assert told["dry_run"] is True
    states = {"a.txt": "updated", "b.md": "created", "empty.txt": "failed", "sub/c.txt": "created", "old.txt": "deleted"}
    assert {one["id"]: one["state"] for one in told["documents"]} == states
    done = run_cli("ingest", str(folder), "--sync")
    assert done.out == "2 created, 1 updated, 1 deleted, 1 failed\n"


def test_a_long_dry_run_shows_the_first_changes(run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "many.jsonl").write_text("\n".join(json.dumps({"id": f"{number:03}", "text": "x"}) for number in range(50)))
    lines = run_cli("ingest", str(tmp_path), "--dry-run").out.splitlines()
    assert (lines[0], lines[9]) == ("created 000", "created 009")
    assert lines[10:] == ["created 40 more; --json names them all", "50 created (dry run: nothing was changed)"]


# -- --sync -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def leftover(gateway: FakeGateway) -> tuple[str, str]:
    """A document that is in no path."""
    key = ("default", "old.txt")
    gateway.stored[key] = Document(id="old.txt", text="Old.")
    return key


def test_sync_deletes_what_is_in_no_path_and_only_of_its_collection(
    run_cli: Run, folder: Path, gateway: FakeGateway, leftover: tuple[str, str]
) -> None:
    gateway.stored["other", "old.txt"] = gateway.stored[leftover]
    done = run_cli("ingest", str(folder), "--sync")
    assert (done.exit_code, done.out) == (ExitCode.OK, "3 created, 1 deleted\n")
    assert sorted(gateway.stored) == [*(("default", name) for name in ("a.txt", "b.md", "sub/c.txt")), ("other", "old.txt")]
    assert run_cli("ingest", str(folder), "--sync").out == "3 unchanged\n"


def test_without_sync_nothing_is_deleted(run_cli: Run, folder: Path, gateway: FakeGateway, leftover: tuple[str, str]) -> None:
    run_cli("ingest", str(folder))
    assert leftover in gateway.stored


@pytest.mark.parametrize("paths", [["missing"], ["*.pdf"], [".", "missing/*.md"]])
def test_sync_deletes_nothing_where_a_path_leads_nowhere(
    run_cli: Run, folder: Path, gateway: FakeGateway, leftover: tuple[str, str], paths: list[str]
) -> None:
    done = run_cli("ingest", str(folder), *(str(folder / path) for path in paths), "--sync")
    assert done.exit_code == ExitCode.SOME_FAILED
    assert "nothing was deleted: " in done.err
    assert leftover in gateway.stored


def test_sync_deletes_nothing_where_no_document_is_found(run_cli: Run, tmp_path: Path, gateway: FakeGateway, leftover: tuple[str, str]) -> None:
    (tmp_path / "empty").mkdir()
    done = run_cli("ingest", str(tmp_path / "empty"), "--sync")
    assert done.exit_code == ExitCode.SOME_FAILED
    assert "nothing was deleted: " in done.err
    assert leftover in gateway.stored


def test_sync_deletes_nothing_where_one_of_several_folders_is_empty(
    run_cli: Run, folder: Path, gateway: FakeGateway, leftover: tuple[str, str]
) -> None:
    (folder / "empty").mkdir()
    done = run_cli("ingest", str(folder), str(folder / "empty"), "--sync")
    assert (done.exit_code, done.out) == (ExitCode.SOME_FAILED, "3 created\n")
    assert "nothing was deleted: " in done.err
    assert str(folder / "empty") in done.err
    assert leftover in gateway.stored


def test_sync_with_standard_input_is_a_wrong_command_line(run_cli: Run, gateway: FakeGateway, folder: Path) -> None:
    done = run_cli("ingest", str(folder), "-", "--sync")
    assert (done.exit_code, gateway.requests) == (ExitCode.USAGE, [])


@pytest.mark.parametrize("name", ["bad.jsonl", "bad.json", "bad.zip"])
def test_sync_deletes_nothing_where_a_file_of_many_documents_is_broken(
    run_cli: Run, folder: Path, gateway: FakeGateway, leftover: tuple[str, str], name: str
) -> None:
    (folder / name).write_text("broken")
    done = run_cli("ingest", str(folder), "--sync")
    assert (done.exit_code, done.out) == (ExitCode.SOME_FAILED, "3 created, 1 failed\n")
    assert f"nothing was deleted: {name}" in done.err
    assert leftover in gateway.stored


def test_sync_keeps_a_document_whose_file_can_not_be_loaded_any_more(run_cli: Run, folder: Path, gateway: FakeGateway) -> None:
    run_cli("ingest", str(folder))
    (folder / "a.txt").write_text("")
    (folder / "b.md").unlink()
    done = run_cli("ingest", str(folder), "--sync")
    assert (done.exit_code, done.out) == (ExitCode.SOME_FAILED, "1 unchanged, 1 deleted, 1 failed\n")
    assert sorted(gateway.stored) == [("default", "a.txt"), ("default", "sub/c.txt")]


def test_sync_keeps_a_document_that_the_server_refuses(run_cli: Run, folder: Path, gateway: FakeGateway) -> None:
    run_cli("ingest", str(folder))
    (folder / "a.txt").write_text("POISON")
    assert run_cli("ingest", str(folder), "--sync").out == "2 unchanged, 1 failed\n"
    assert len(gateway.stored) == 3


def test_a_leftover_that_somebody_else_deleted_is_no_error(
    run_cli: Run, folder: Path, gateway: FakeGateway, leftover: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = gateway._delete

    def deleted_before(request: httpx.Request, identifier: str) -> httpx.Response:
        del gateway.stored[leftover]
        return delete(request, identifier)

    monkeypatch.setattr(gateway, "_delete", deleted_before)
    done = run_cli("ingest", str(folder), "--sync")
    assert (done.exit_code, done.out) == (ExitCode.OK, "3 created, 1 deleted\n")


def test_a_run_that_ends_in_an_error_deletes_nothing(run_cli: Run, folder: Path, gateway: FakeGateway, leftover: tuple[str, str]) -> None:
    gateway._add = lambda _: error_answer(Internal("a fault"))  # type: ignore[method-assign]
    assert run_cli("ingest", str(folder), "--sync").exit_code == ExitCode.SERVER_ERROR
    assert leftover in gateway.stored
