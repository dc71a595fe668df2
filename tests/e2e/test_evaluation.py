"""`ekiben eval` through real services: a tiny set, and the gate that must stay silent where nothing changed and see what got worse."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clients.evaluating.files import read_report
from clients.exit_codes import ExitCode
from tests.pipelines.evaluation.making import lines, make_set
from tests.servers import ROOT, command, ekiben

GATE = ROOT / "data" / "eval" / "sample"
GATE_TIMEOUT_S = 900
CORPUS = {
    "tunnel": "The Hohe tunnel is 57 km long. It was opened in 2016 after 17 years of work.",
    "pass": "The Furka pass is closed in winter. A steam railway crosses it from June to October.",
    "bridge": "The Landwasser viaduct is 65 metres high. Its six arches are made of limestone.",
}
QUERIES = [
    {"_id": "q1", "text": "How long is the Hohe tunnel?", "answers": ["57 km"]},
    {"_id": "q2", "text": "When is the Furka pass closed?", "answers": ["winter"]},
    {"_id": "q3", "text": "What is the Landwasser viaduct made of?", "answers": ["limestone"], "refs": ["Its six arches are made of limestone."]},
    {"_id": "q4", "text": "Which vitamin does the body make in sunlight?", "answerable": False},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\ttunnel\t1\nq2\tpass\t1\nq3\tbridge\t1\n"


def test_a_set_is_measured_through_services_of_its_own_and_indexed_once(tmp_path: Path) -> None:
    corpus = lines([{"_id": name, "text": text} for name, text in CORPUS.items()])
    folder = make_set(tmp_path / "tiny", {"corpus.jsonl": corpus, "queries.jsonl": lines(QUERIES), "qrels.tsv": QRELS})
    data, report, page = tmp_path / "data", tmp_path / "report.json", tmp_path / "report.html"
    first = command("eval", str(folder), "--data", str(data), "--mode", "hybrid", "--mode", "lexical", "--json", str(report), "--html", str(page))
    assert first.returncode == ExitCode.OK, first.stderr.decode()
    (found,) = read_report(report).sets
    values = {measure.name: measure.value for measure in found.measures}
    expected = ("hybrid nDCG@10", "lexical nDCG@10", "contains", "citation recall", "answered", "refused", "AUROC")
    assert {name: values[name] for name in expected} == dict.fromkeys(expected, 1.0)
    assert (found.documents, found.offsets_broken, found.failed) == (3, 0, ())
    assert found.measured.encoder is not None
    assert found.measured.settings is not None
    assert page.read_text().count("<svg") == 3

    again = command("eval", str(folder), "--data", str(data), "--baseline", str(report))
    assert again.returncode == ExitCode.OK, again.stderr.decode()
    assert b"3 unchanged" in again.stderr
    assert again.stdout.endswith(b"no significant loss\n")


# A vector that is late on a busy machine would change a ranking.
PATIENT = {"EKIBEN_RETRIEVER__EMBED_TIMEOUT_S": "60"}


def gate(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[bytes]":
    """`ekiben eval` on the gate's set."""
    line = [sys.executable, "-m", "clients", "eval", str(GATE), *arguments]
    return subprocess.run(line, cwd=ROOT, env={**os.environ, **PATIENT, **settings}, capture_output=True, timeout=GATE_TIMEOUT_S, check=False)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gate") / "baseline.json"
    made = gate("--json", str(path))
    assert made.returncode == ExitCode.OK, made.stderr.decode()
    return path


@pytest.mark.slow
@pytest.mark.timeout(GATE_TIMEOUT_S * 12)
def test_ten_unchanged_runs_are_no_loss(baseline: Path, tmp_path: Path) -> None:
    """With an index of their own, and with one to eight questions in flight, which share batches in other ways."""
    with ekiben(tmp_path, **PATIENT) as server:
        for clients in (1, 2, 3, 4, 5, 6, 7, 8, 4, 2):
            done = gate("--baseline", str(baseline), "--url", server.url, "--clients", str(clients))
            assert done.returncode == ExitCode.OK, done.stdout.decode() + done.stderr.decode()
            assert done.stdout.endswith(b"no significant loss\n")


@pytest.mark.slow
@pytest.mark.timeout(GATE_TIMEOUT_S * 2)
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"EKIBEN_INGESTION__CHUNK_TOKENS": "16", "EKIBEN_INGESTION__OVERLAP_TOKENS": "0"}, id="worse splitting"),
        pytest.param({"EKIBEN_RETRIEVER__FUSION": "convex", "EKIBEN_RETRIEVER__DENSE_WEIGHT": "1"}, id="worse fusion"),
    ],
)
def test_a_regression_is_seen(baseline: Path, settings: dict[str, str]) -> None:
    done = gate("--baseline", str(baseline), **settings)
    assert done.returncode == ExitCode.SOME_FAILED, done.stderr.decode()
    assert b"\nLOSS: " in done.stdout
