import inspect
import io
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from clients.commands import options, questions, server
from clients.connection import DEFAULT_URL
from clients.exit_codes import ExitCode
from clients.http_client import EkibenClient
from core.errors import DependencyUnavailable, DocumentEmpty, DocumentNotFound, IndexMismatch, Internal, InvalidRequest, Overloaded, ReindexConflict
from core.schemas import (
    DEFAULT_COLLECTION,
    DEFAULT_TOP_K,
    MAX_TOP_K,
    AnswerRequest,
    CollectionSettings,
    Document,
    DocumentCounts,
    DocumentResult,
    ReindexStatus,
    RerankerInfo,
    SearchResponse,
    ServiceStatus,
    StoreStatus,
)
from core.settings import load_settings
from tests.clients.conftest import Run
from tests.clients.fake_gateway import ANSWER, PASSAGE, FakeGateway, error_answer

ROOT = Path(__file__).parents[2]


# -- ask and search ---------------------------------------------------------------------------------------------------------------


def test_an_answer_is_shown_with_its_sources(run_cli: Run) -> None:
    done = run_cli("ask", "What?")
    assert (done.exit_code, done.err) == (ExitCode.OK, "")
    assert done.out.startswith("The text.\n")
    assert "[1] a.md, page 3, characters 0 to 9" in done.out


def test_an_unverified_source_is_marked(run_cli: Run, gateway: FakeGateway) -> None:
    unverified = ANSWER.model_copy(update={"citations": (ANSWER.citations[0].model_copy(update={"verified": False}),), "notes": ("a note",)})
    gateway.failures = [httpx.Response(200, content=unverified.model_dump_json())]
    out = run_cli("ask", "What?").out
    assert "(NOT verified)" in out
    assert "note: a note" in out


def test_an_abstention_shows_the_nearest_passages(run_cli: Run, gateway: FakeGateway) -> None:
    abstained = ANSWER.model_copy(update={"abstained": True, "citations": (), "confidence": None})
    gateway.failures = [httpx.Response(200, content=abstained.model_dump_json())]
    out = run_cli("ask", "What?").out
    assert "Nearest passages:\n1. A  (a.md, characters 0 to 9, score 0.500)" in out
    assert "confidence unknown" in out


@pytest.mark.parametrize("command", ["ask", "search"])
def test_what_the_options_say_is_asked(run_cli: Run, gateway: FakeGateway, command: str) -> None:
    options = ["-k", "7", "--mode", "lexical", "--collection", "x", "--collection", "y"]
    filters = ["year=1901", "old=true", "name=Seikan", "exact=a=b", 'text="1901"', 'in=["a", 1]', 'range={"gte": 1900, "lt": 2000}', "empty="]
    assert run_cli(command, "What?", *options, *[part for one in filters for part in ("--filter", one)]).exit_code == ExitCode.OK
    asked = gateway.asked
    assert (asked["top_k"], asked["mode"], asked["collections"]) == (7, "lexical", ["x", "y"])
    kept = {key: value for key, value in asked["filters"].items() if key != "range"}
    assert kept == {"year": 1901, "old": True, "name": "Seikan", "exact": "a=b", "text": "1901", "in": ["a", 1], "empty": ""}
    assert {key: value for key, value in asked["filters"]["range"].items() if value is not None} == {"gte": 1900, "lt": 2000}
    assert asked["filters"]["old"] is True


@pytest.mark.parametrize("command", ["ask", "search"])
@pytest.mark.parametrize(("flags", "rerank"), [([], True), (["--no-rerank"], False)])
def test_reranking_is_asked_for_unless_it_is_switched_off(run_cli: Run, gateway: FakeGateway, command: str, flags: list[str], rerank: bool) -> None:
    assert run_cli(command, "What?", *flags).exit_code == ExitCode.OK
    assert gateway.asked["rerank"] is rerank


def test_a_question_can_come_on_standard_input(run_cli: Run, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("What is\nthis?\n"))
    run_cli("ask", "-")
    assert gateway.asked["question"] == "What is\nthis?"


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask"],
        ["ask", " "],
        ["ask", "x" * 100_000],
        ["ask", "What?", "-k", "0"],
        ["ask", "What?", "--mode", "magic"],
        ["ask", "What?", "--collection", "../x"],
        ["ask", "What?", "--filter", "year"],
        ["ask", "What?", "--filter", "=5"],
        ["ask", "What?", "--filter", "year=NaN"],
        ["ask", "What?", "--filter", "year=null"],
        ["search", "What?", "--unknown"],
        ["documents", "delete"],
        ["ingest"],
        ["serve", "--port", "0"],
        ["nothing"],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_a_wrong_command_line_is_refused_before_anything_is_asked(run_cli: Run, gateway: FakeGateway, arguments: list[str]) -> None:
    done = run_cli(*arguments)
    assert (done.exit_code, done.out) == (ExitCode.USAGE, "")
    assert done.err
    assert gateway.requests == []


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (httpx.ConnectError("refused"), ExitCode.UNREACHABLE),
        (error_answer(InvalidRequest("the reason")), ExitCode.REFUSED),
        (error_answer(DocumentNotFound("the reason")), ExitCode.REFUSED),
        (error_answer(IndexMismatch("the reason")), ExitCode.REFUSED),
        (error_answer(Overloaded("the reason")), ExitCode.REFUSED),
        (error_answer(Internal("the reason")), ExitCode.SERVER_ERROR),
        (error_answer(DependencyUnavailable("the reason")), ExitCode.SERVER_ERROR),
        (httpx.ReadError("the reason"), ExitCode.SERVER_ERROR),
        (httpx.Response(200, text="<html>"), ExitCode.SERVER_ERROR),
    ],
)
@pytest.mark.parametrize("arguments", [["ask", "What?", "--json"], ["search", "What?"], ["status"], ["documents", "list"], ["documents", "get", "a"]])
def test_each_kind_of_error_has_its_exit_status_and_stdout_stays_empty(
    run_cli: Run, gateway: FakeGateway, failure: httpx.Response | Exception, code: ExitCode, arguments: list[str]
) -> None:
    gateway.failures = [failure] * 50
    done = run_cli(*arguments)
    assert (done.exit_code, done.out) == (code, "")
    assert done.err.startswith("ekiben: ")
    assert "Traceback" not in done.err


# -- JSON -------------------------------------------------------------------------------------------------------------------------


def test_json_output_is_what_the_gateway_answered_and_nothing_else(run_cli: Run, folder: Path) -> None:
    assert json.loads(run_cli("ask", "What?", "--json").out) == ANSWER.model_dump(mode="json")
    assert json.loads(run_cli("search", "What?", "--json").out)["passages"] == [PASSAGE.model_dump(mode="json")]
    assert json.loads(run_cli("status", "--json").out)["ready"] is True
    assert json.loads(run_cli("ingest", str(folder), "--json").out)["counts"] == {"created": 3}
    assert json.loads(run_cli("documents", "get", "a.txt", "--json").out)["text"] == "The text of a.txt."
    assert [json.loads(line)["id"] for line in run_cli("documents", "list", "--json").out.splitlines()] == ["a.txt", "b.md", "sub/c.txt"]
    assert [json.loads(line)["deleted"] for line in run_cli("documents", "delete", "a.txt", "b.md", "--json").out.splitlines()] == [True, True]
    keys = {row["key"] for row in json.loads(run_cli("config", "--json").out)}
    assert "gateway.port" in keys


# -- documents and status ---------------------------------------------------------------------------------------------------------


def test_documents_are_listed_shown_and_deleted(run_cli: Run, gateway: FakeGateway) -> None:
    gateway.stored = {("c", one): Document(id=one, title=f"T{one}", text=f"Text {one}.") for one in "abc"}
    assert run_cli("documents", "list", "--limit", "2").out == "c\ta\t7 characters\t1 chunks\tTa\nc\tb\t7 characters\t1 chunks\tTb\n"
    assert run_cli("documents", "list", "--collection", "other").out == ""
    assert run_cli("documents", "get", "a", "--collection", "c").out == "Text a.\n"
    assert run_cli("documents", "delete", "a", "c", "--collection", "c").out == "deleted a (1 chunks)\ndeleted c (1 chunks)\n"
    missing = run_cli("documents", "delete", "a", "--collection", "c")
    assert (missing.exit_code, missing.out) == (ExitCode.REFUSED, "")


def test_status_says_by_its_exit_status_whether_all_parts_are_ready(run_cli: Run, gateway: FakeGateway) -> None:
    assert run_cli("status").exit_code == ExitCode.OK
    gateway.ready = False
    done = run_cli("status")
    assert (done.exit_code, done.out.splitlines()[0]) == (ExitCode.SERVER_ERROR, "Ekiben 1: NOT ready")


# -- jobs, collections, maintenance -----------------------------------------------------------------------------------------------


def test_files_are_uploaded_as_a_job_that_can_be_waited_for(run_cli: Run, folder: Path, waits: list[float]) -> None:
    done = run_cli("upload", str(folder / "a.txt"), str(folder / "b.md"), "--fields", "text=body")
    assert done.exit_code == ExitCode.OK
    assert done.out.startswith("job_0\tqueued\t")
    assert waits == []
    done = run_cli("upload", str(folder / "a.txt"), "--wait", "--json")
    assert (json.loads(done.out)["state"], len(waits)) == ("done", 2)
    assert "job_1" in done.err


def test_an_upload_with_failed_documents_ends_with_their_names_and_an_exit_status(run_cli: Run, folder: Path, gateway: FakeGateway) -> None:
    failed = DocumentResult(id="a.txt", state="failed", error=DocumentEmpty("holds no text").info())
    start = gateway._start_job
    gateway._start_job = lambda *_: start(DocumentCounts(failed=1), [failed])  # type: ignore[method-assign]
    done = run_cli("upload", str(folder / "a.txt"), "--wait")
    assert done.exit_code == ExitCode.SOME_FAILED
    assert "failed a.txt: holds no text (document_empty)" in done.out + done.err


@pytest.mark.parametrize(
    "arguments", [["missing.txt"], ["."], ["a.txt", "sub/a.txt"], ["a.txt", "--fields", "body"], ["a.txt", "--fields", "txt=body"]]
)
def test_an_upload_of_what_can_not_be_sent_is_a_wrong_command_line(
    run_cli: Run, folder: Path, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(folder)
    (folder / "sub/a.txt").write_text("x")
    done = run_cli("upload", *arguments)
    assert (done.exit_code, gateway.requests) == (ExitCode.USAGE, [])


def test_jobs_are_listed_shown_and_cancelled(run_cli: Run, folder: Path, gateway: FakeGateway) -> None:
    for _ in range(3):
        run_cli("upload", str(folder / "a.txt"))
    gateway.polls = 0
    assert [json.loads(line)["id"] for line in run_cli("jobs", "list", "--limit", "2", "--json").out.splitlines()] == ["job_0", "job_1"]
    assert run_cli("jobs", "show", "job_1").out.startswith("job_1\tdone\t")
    assert run_cli("jobs", "cancel", "job_1").out.startswith("job_1\tcancelled\t")
    assert run_cli("jobs", "list", "--state", "cancelled").out.startswith("job_1\t")
    assert run_cli("jobs", "show", "none").exit_code == ExitCode.REFUSED
    assert run_cli("jobs", "list", "--state", "new").exit_code == ExitCode.USAGE


def test_collections_are_created_listed_and_deleted_after_a_question(run_cli: Run, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        run_cli("collections", "create", "mine", "--chunk-tokens", "64", "--overlap-tokens", "8", "--description", "Mails").exit_code == ExitCode.OK
    )
    assert gateway.collections["mine"] == CollectionSettings(description="Mails", chunk_tokens=64, overlap_tokens=8)
    assert run_cli("collections", "list").out.startswith("mine\t2 documents\t5 chunks")
    for answer in ("n\n", ""):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert run_cli("collections", "delete", "mine").exit_code != ExitCode.OK
        assert list(gateway.collections) == ["mine"]
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run_cli("collections", "delete", "mine").out.strip() == "deleted mine (2 documents, 5 chunks)"
    assert run_cli("collections", "delete", "mine", "--yes").exit_code == ExitCode.REFUSED


def test_compact_prints_its_receipt(run_cli: Run) -> None:
    out = run_cli("compact").out
    assert "2,000,000 bytes before" in out
    assert "5 deleted vectors" in out
    assert json.loads(run_cli("compact", "--json").out)["vectors_dropped"] == 5


def _reindex(done: int, state: str = "running") -> ReindexStatus:
    error = Internal("the model is gone").info() if state == "failed" else None
    return ReindexStatus.model_validate({"state": state, "target": "t", "documents_done": done, "documents_total": 2, "error": error})


@pytest.mark.parametrize("runs_already", [False, True])
def test_a_reindexing_is_followed_until_it_is_done(run_cli: Run, gateway: FakeGateway, waits: list[float], runs_already: bool) -> None:
    gateway.reindexing = [_reindex(0), _reindex(1), _reindex(1), None]
    gateway.failures = [error_answer(ReindexConflict("another one runs"))] if runs_already else []
    done = run_cli("reindex")
    assert done.exit_code == ExitCode.OK
    assert (gateway.reindexing, gateway.writes) == ([], ["POST"])
    assert waits


def test_a_reindexing_that_fails_or_is_not_needed_says_so(run_cli: Run, gateway: FakeGateway) -> None:
    gateway.reindexing = [_reindex(0), _reindex(1, "failed")]
    done = run_cli("reindex")
    assert done.exit_code == ExitCode.SOME_FAILED
    assert "the model is gone" in done.err
    gateway.failures = [error_answer(ReindexConflict("the index belongs to the running encoder already"))]
    done = run_cli("reindex")
    assert (done.exit_code, done.err) == (ExitCode.REFUSED, "ekiben: the index belongs to the running encoder already\n")


def test_status_names_the_reranker_where_one_runs(run_cli: Run, gateway: FakeGateway) -> None:
    assert "reranker" not in run_cli("status").out
    reranker = RerankerInfo(model="tiny", max_tokens=64, weights_sha256="abcdef0123456789" * 4, device="cpu", dtype="float32")
    store = StoreStatus(documents=1, chunks=2, collections={}, index_version=3, reranker=reranker)
    gateway.failures = [httpx.Response(200, content=ServiceStatus(version="1", ready=True, store=store, generator=None).model_dump_json())]
    assert "reranker   tiny, float32 on cpu, weights abcdef0123456789\n" in run_cli("status").out + "\n"


def test_status_shows_a_reindexing_and_a_passage_its_section(run_cli: Run, gateway: FakeGateway) -> None:
    gateway.reindexing = [_reindex(1)]
    assert "1 of 2 documents" in run_cli("status").out
    found = SearchResponse(passages=(PASSAGE.model_copy(update={"headings": ("Railways", "Gauge")}),))
    gateway.failures = [httpx.Response(200, content=found.model_dump_json())]
    assert "Railways > Gauge" in run_cli("search", "What?").out


# -- configuration and defaults ---------------------------------------------------------------------------------------------------


def test_config_prints_every_setting_with_its_source(run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EKIBEN_MODELS__HUB_TOKEN", "hf_secret")
    monkeypatch.setenv("EKIBEN_CONFIG", "")
    path = tmp_path / "mine.yaml"
    path.write_text("gateway: {port: 4000}")
    done = run_cli("config", "--config", str(path))
    assert f"4000  ({path})" in done.out
    assert "hf_secret" not in done.out
    assert len(done.out.splitlines()) == sum(len(type(branch).model_fields) for _, branch in load_settings())


@pytest.mark.parametrize("arguments", [["config"], ["ingest", "."], ["serve"]])
def test_wrong_settings_end_a_command_with_their_own_exit_status(run_cli: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setenv("EKIBEN_GATEWAY__PORT", "many")
    done = run_cli(*arguments)
    assert (done.exit_code, done.out) == (ExitCode.STARTUP, "")
    assert "gateway.port" in done.err


def _default(function: object, parameter: str) -> object:
    return inspect.signature(function).parameters[parameter].default  # type: ignore[arg-type]


def test_defaults_that_are_written_twice_for_speed_agree() -> None:
    assert options.DEFAULT_URL == DEFAULT_URL == _default(EkibenClient, "url")
    assert options.DEFAULT_COLLECTION == DEFAULT_COLLECTION
    request = AnswerRequest(question="x")
    for command in (questions.ask, questions.search):
        assert (_default(command, "top_k"), _default(command, "mode")) == (DEFAULT_TOP_K, request.mode)
        assert _default(command, "collection") == request.collections
    (option,) = questions.TopK.__metadata__
    assert (option.min, option.max) == (1, MAX_TOP_K)
    settings = load_settings().gateway
    assert f"http://{settings.host}:{settings.port}" == DEFAULT_URL
    assert (_default(server.demo, "host"), _default(server.demo, "port")) == (settings.host, settings.port)


def test_every_exit_status_is_explained() -> None:
    source = inspect.getsource(ExitCode)
    assert source.count('"""') == 2 * (len(ExitCode) + 1)


# -- as a process -----------------------------------------------------------------------------------------------------------------


def _ekiben(code: str, *arguments: str) -> "subprocess.Popen[bytes]":
    script = f"import sys\nfrom clients import cli\n{code}\ncli.main()"
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


# Typer itself reads the options of a command with pydantic.
@pytest.mark.parametrize(("arguments", "loaded"), [(["--help"], "[]"), (["ask", "--help"], "['pydantic']")])
def test_help_loads_no_heavy_library(arguments: list[str], loaded: str) -> None:
    heavy = ("pydantic", "httpx", "yaml", "bentoml", "torch", "numpy")
    code = f"import atexit; atexit.register(lambda: print([name for name in {heavy} if name in sys.modules]))"
    process = _ekiben(code, *arguments)
    out, err = process.communicate()
    assert (process.returncode, out.decode().splitlines()[-1], err) == (0, loaded, b"")


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_goes_away_ends_the_command_in_peace(lines: int) -> None:
    """As in `ekiben documents list | head`: with little output the pipe breaks at the last flush, with much in the middle."""
    code = f"cli.app.command('talk')(lambda: [__import__('typer').echo('x' * 80) for _ in range({lines})] and None)"
    process = _ekiben(f"{code}\nsys.stdin.read(1)", "talk")
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdin, process.stderr:
        process.stdout.close()
        process.stdin.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)


def test_ctrl_c_ends_a_command_with_130(run_cli: Run, gateway: FakeGateway) -> None:
    def interrupted(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    gateway._route = lambda *_: interrupted  # type: ignore[assignment, method-assign]
    assert run_cli("ask", "What?").exit_code == ExitCode.INTERRUPTED
