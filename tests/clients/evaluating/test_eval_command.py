import json
from pathlib import Path

import httpx
import pytest

from clients.evaluating.files import read_report
from clients.exit_codes import ExitCode
from core.errors import GenerationFailed
from core.schemas import Document
from tests.clients.conftest import Run
from tests.clients.fake_gateway import ANSWER, PASSAGE, FakeGateway, error_answer
from tests.pipelines.evaluation.making import QUERIES, lines, make_set

URL = "http://gateway"
HEAD = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set whose first document is the one that the fake gateway always finds and cites."""
    corpus = lines([{"_id": "a.md", "text": "The text."}, {"_id": "b.md", "text": "Another one."}])
    return make_set(tmp_path / "tiny", {"corpus.jsonl": corpus, "qrels.tsv": f"{HEAD}q1\ta.md\t1\nq2\tb.md\t1\n"})


def answers(gateway: FakeGateway) -> list[dict]:
    return [json.loads(request.content) for request in gateway.requests if request.url.path == "/v1/answer"]


def test_a_run_ingests_asks_and_tells(run_cli: Run, gateway: FakeGateway, folder: Path) -> None:
    done = run_cli("eval", str(folder), "--url", URL, "--clients", "1")
    assert done.exit_code == ExitCode.OK, done.err
    assert set(gateway.stored) == {("tiny", "a.md"), ("tiny", "b.md")}
    assert done.out.startswith("tiny: 3 questions, 2 documents\n")
    values = {line.split("  ")[0]: line.split()[-5] for line in done.out.splitlines() if " to " in line}
    assert (values["hybrid MRR@10"], values["citation precision"]) == ("0.500", "0.500")
    assert "offsets    9 of 9 resolve" in done.out
    assert "2 created" in done.err
    assert "created" not in done.out
    asked = answers(gateway)[-1]
    assert (asked["collections"], asked["top_k"], asked["mode"]) == (["tiny"], 5, "hybrid")


def test_modes_are_measured_side_by_side_and_the_first_one_answers(run_cli: Run, gateway: FakeGateway, folder: Path) -> None:
    out = run_cli("eval", str(folder), "--url", URL, "--mode", "lexical", "--mode", "dense", "--mode", "lexical", "--top-k", "3").out
    assert [line.split()[0] for line in out.splitlines() if "nDCG@10" in line] == ["lexical", "dense"]
    assert {(asked["mode"], asked["top_k"]) for asked in answers(gateway)} == {("lexical", 3)}


def test_retrieval_only_asks_for_no_answer(run_cli: Run, gateway: FakeGateway, folder: Path) -> None:
    done = run_cli("eval", str(folder), "--url", URL, "--retrieval-only")
    assert (done.exit_code, answers(gateway)) == (ExitCode.OK, [])
    assert "contains" not in done.out


def test_a_sample_and_a_split_can_be_asked(run_cli: Run, folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    run_cli("eval", str(folder), "--url", URL, "--questions", "2", "--json", str(report))
    assert [row.id for row in read_report(report).sets[0].rows] == ["q1", "q2"]
    run_cli("eval", str(folder), "--url", URL, "--split", "test", "--json", str(report))
    assert [row.id for row in read_report(report).sets[0].rows] == ["q2"]


def test_a_scope_limits_the_search(run_cli: Run, gateway: FakeGateway, folder: Path) -> None:
    make_set(folder, {"corpus.jsonl": lines([{"_id": "a.md", "text": "The text."}, {"_id": "b.md", "text": "Another."}])})
    make_set(
        folder, {"corpus.jsonl": (folder / "corpus.jsonl").read_bytes(), "queries.jsonl": lines([{**QUERIES[0], "scope": "a"}]), "qrels.tsv": HEAD}
    )
    assert run_cli("eval", str(folder), "--url", URL).exit_code == ExitCode.OK
    assert answers(gateway)[-1]["filters"] == {"scope": "a"}
    assert {key[1]: document.metadata.get("scope") for key, document in gateway.stored.items()} == {"a.md": "a", "b.md": None}


# -- what goes wrong --------------------------------------------------------------------------------------------------------------


def test_a_question_that_fails_is_counted_and_shown(run_cli: Run, gateway: FakeGateway, folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    fails_for(gateway, "How long is the tunnel?")
    done = run_cli("eval", str(folder), "--url", URL, "--json", str(report))
    assert done.exit_code == ExitCode.SOME_FAILED
    assert "FAILED     1 questions, counted in no measure\n           q1: no (generation_failed)" in done.out
    (row, *others) = read_report(report).sets[0].rows
    assert row.error is not None
    assert (row.error.code, row.scores, [other.error for other in others]) == ("generation_failed", {}, [None, None])


def fails_for(gateway: FakeGateway, question: str) -> None:
    route = gateway._route

    def failing(method: str, path: str):
        def answer(request: httpx.Request) -> httpx.Response:
            is_struck = path == "/v1/answer" and json.loads(request.content)["question"] == question
            return error_answer(GenerationFailed("no")) if is_struck else route(method, path)(request)

        return answer

    gateway._route = failing


def test_answers_without_one_of_their_parts_are_told(run_cli: Run, gateway: FakeGateway, folder: Path) -> None:
    route = gateway._route
    late = ANSWER.model_copy(update={"degraded": True})
    gateway._route = lambda method, path: (
        (lambda _: httpx.Response(200, content=late.model_dump_json())) if path == "/v1/answer" else route(method, path)
    )
    done = run_cli("eval", str(folder), "--url", URL)
    assert done.exit_code == ExitCode.OK
    assert "degraded   3 questions" in done.out


def test_a_question_that_is_too_long_fails_alone(run_cli: Run, folder: Path) -> None:
    with (folder / "queries.jsonl").open("a") as stream:
        stream.write(lines([{"_id": "long", "text": "x" * 5_000}]))
    done = run_cli("eval", str(folder), "--url", URL)
    assert done.exit_code == ExitCode.SOME_FAILED
    assert "long: query: String should have at most 4000 characters (invalid_request)" in done.out


def test_a_document_that_is_refused_is_told(run_cli: Run, folder: Path) -> None:
    with (folder / "corpus.jsonl").open("a") as stream:
        stream.write(lines([{"_id": "c.md", "text": "POISON"}]))
    done = run_cli("eval", str(folder), "--url", URL)
    assert done.exit_code == ExitCode.SOME_FAILED
    assert "documents  1 of the set were refused" in done.out


def test_an_offset_that_does_not_resolve_is_a_failure(run_cli: Run, gateway: FakeGateway, folder: Path) -> None:
    make_set(folder, {"corpus.jsonl": lines([{"_id": "a.md", "text": "Moved: the text."}, {"_id": "b.md", "text": "b"}]), "qrels.tsv": HEAD})
    done = run_cli("eval", str(folder), "--url", URL)
    assert done.exit_code == ExitCode.SOME_FAILED
    assert "offsets    0 of 9 resolve" in done.out


def test_a_collection_with_other_documents_is_refused(run_cli: Run, gateway: FakeGateway, folder: Path) -> None:
    gateway.stored["tiny", "mine.md"] = Document(id="mine.md", text="Keep me.")
    done = run_cli("eval", str(folder), "--url", URL)
    assert done.exit_code == ExitCode.BAD_EVALUATION
    assert "the collection 'tiny' at http://gateway holds documents that are not of" in done.err
    assert ("tiny", "mine.md") in gateway.stored


def test_a_broken_set_ends_before_anything_is_sent(run_cli: Run, gateway: FakeGateway, folder: Path) -> None:
    (folder / "qrels.tsv").write_text("oops")
    done = run_cli("eval", str(folder), "--url", URL)
    assert (done.exit_code, gateway.requests) == (ExitCode.BAD_EVALUATION, [])
    assert "qrels.tsv, line 1" in done.err


def test_two_sets_of_one_name_are_refused(run_cli: Run, folder: Path, tmp_path: Path) -> None:
    done = run_cli("eval", str(folder), str(make_set(tmp_path / "other" / "tiny")), "--url", URL)
    assert done.exit_code == ExitCode.BAD_EVALUATION
    assert "two of the folders are called 'tiny'" in done.err


def test_nothing_at_the_url_ends_the_run(run_cli: Run, gateway: FakeGateway, folder: Path) -> None:
    gateway.failures = [httpx.ConnectError("refused")] * 100
    assert run_cli("eval", str(folder), "--url", URL).exit_code == ExitCode.UNREACHABLE


@pytest.mark.parametrize("wrong", [("--mode", "magic"), ("--data", "x"), ("--questions", "0"), ("--clients", "0")])
def test_a_wrong_command_line_is_refused(run_cli: Run, folder: Path, wrong: tuple[str, ...]) -> None:
    assert run_cli("eval", str(folder), "--url", URL, *wrong).exit_code == ExitCode.USAGE


# -- the baseline -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def baseline(run_cli: Run, folder: Path, tmp_path: Path) -> Path:
    """The report of a run over a set with 30 questions about the document that is found."""
    queries = [{"_id": f"q{number}", "text": f"Question {number}?", "answers": ["text"]} for number in range(30)]
    qrels = HEAD + "".join(f"q{number}\ta.md\t1\n" for number in range(30))
    corpus = (folder / "corpus.jsonl").read_bytes()
    make_set(folder, {"corpus.jsonl": corpus, "queries.jsonl": lines(queries), "qrels.tsv": qrels})
    path = tmp_path / "baseline.json"
    assert run_cli("eval", str(folder), "--url", URL, "--json", str(path)).exit_code == ExitCode.OK
    return path


def test_an_unchanged_run_is_no_loss(run_cli: Run, folder: Path, baseline: Path) -> None:
    done = run_cli("eval", str(folder), "--url", URL, "--baseline", str(baseline))
    assert done.exit_code == ExitCode.OK
    assert done.out.endswith("no significant loss\n")


def test_a_loss_ends_in_exit_status_1_and_names_the_measures(run_cli: Run, gateway: FakeGateway, folder: Path, baseline: Path) -> None:
    other = PASSAGE.model_copy(update={"document_id": "b.md", "text": "Another o"})
    worse = ANSWER.model_copy(update={"answer": "Another one.", "passages": (other,), "citations": ()})
    route = gateway._route
    gateway._route = lambda method, path: (
        (lambda _: httpx.Response(200, content=worse.model_dump_json())) if path == "/v1/answer" else route(method, path)
    )
    done = run_cli("eval", str(folder), "--url", URL, "--baseline", str(baseline))
    assert done.exit_code == ExitCode.SOME_FAILED
    assert done.out.endswith("LOSS: contains@1, contains@2, contains@3, contains, F1, citation recall\n")
    assert "not compared, because one of the runs lacks it: citation precision" in done.out


@pytest.mark.parametrize(("content", "message"), [("{", "Invalid JSON"), ('{"format": 2}', "is no report of `ekiben eval`")])
def test_a_baseline_that_is_none_ends_before_anything_is_sent(
    run_cli: Run, gateway: FakeGateway, folder: Path, tmp_path: Path, content: str, message: str
):
    path = tmp_path / "baseline.json"
    path.write_text(content)
    done = run_cli("eval", str(folder), "--url", URL, "--baseline", str(path))
    assert (done.exit_code, gateway.requests) == (ExitCode.BAD_EVALUATION, [])
    assert message in done.err


def test_a_missing_baseline_is_named(run_cli: Run, folder: Path, tmp_path: Path) -> None:
    done = run_cli("eval", str(folder), "--url", URL, "--baseline", str(tmp_path / "none.json"))
    assert done.exit_code == ExitCode.BAD_EVALUATION
    assert "none.json: No such file or directory" in done.err


def test_a_baseline_of_another_version_of_the_set_ends_before_anything_is_sent(
    run_cli: Run, gateway: FakeGateway, folder: Path, baseline: Path
) -> None:
    (folder / "qrels.tsv").write_text(HEAD)
    gateway.requests.clear()
    done = run_cli("eval", str(folder), "--url", URL, "--baseline", str(baseline))
    assert (done.exit_code, gateway.requests) == (ExitCode.BAD_EVALUATION, [])
    assert "make the baseline again" in done.err


# -- files ------------------------------------------------------------------------------------------------------------------------


def test_the_page_has_tables_and_plots_and_asks_nobody_for_anything(run_cli: Run, folder: Path, baseline: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run_cli("eval", str(folder), "--url", URL, "--html", str(page), "--baseline", str(baseline))
    html = page.read_text()
    assert html.count("<svg") == 3
    assert "Against the baseline" in html
    # What is left are the names of XML namespaces, which nobody fetches.
    fetched = html.replace('xmlns="http://www.w3.org/2000/svg"', "").replace('xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    assert not any(mark in fetched for mark in ("http:", "https:", "src=", "<script", "<link", "@import", "url(h"))


def test_the_report_is_read_back_as_written_with_a_row_a_line(baseline: Path) -> None:
    report = read_report(baseline)
    assert read_report(baseline) == report
    assert len([line for line in baseline.read_text().splitlines() if line.startswith('{"id": "q')]) == 30
    assert json.loads(baseline.read_text())["sets"][0]["rows"][0]["id"] == "q0"
