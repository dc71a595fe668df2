import json
from pathlib import Path

import pytest

from clients.evaluating import corpora
from clients.evaluating.corpora import paths_to_ingest
from clients.evaluating.stores import _fingerprint, shaping_settings
from clients.exit_codes import ExitCode
from core.settings import load_settings
from pipelines.evaluation.question_sets import QuestionSet, read_question_set
from tests.clients.conftest import Run
from tests.pipelines.evaluation.making import CORPUS, QUERIES, lines, make_set


@pytest.fixture
def of(tmp_path: Path) -> QuestionSet:
    return read_question_set(make_set(tmp_path / "tiny"))


def written(folder: Path) -> list[dict]:
    return [json.loads(line) for part in sorted(folder.iterdir()) for line in part.read_text().splitlines()]


def test_a_corpus_is_written_in_parts_that_hold_each_document_once(of: QuestionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "_PART_BYTES", 40)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "corpus-99999.jsonl").write_text("of an earlier run")
    assert paths_to_ingest(of, tmp_path / "parts") == [str(tmp_path / "parts")]
    assert len(list((tmp_path / "parts").iterdir())) == 2
    assert [document["_id"] for document in written(tmp_path / "parts")] == ["d1", "d2"]
    assert [document["text"] for document in written(tmp_path / "parts")] == [document["text"] for document in CORPUS]


def test_a_document_carries_the_scope_that_its_id_begins_with(tmp_path: Path) -> None:
    of = read_question_set(make_set(tmp_path / "tiny", {"queries.jsonl": lines([{**QUERIES[0], "scope": "d1"}, *QUERIES[1:]])}))
    paths_to_ingest(of, tmp_path / "parts")
    assert [document.get("scope") for document in written(tmp_path / "parts")] == ["d1", None]


@pytest.mark.parametrize(
    ("variable", "value", "is_other"),
    [
        ("EKIBEN_INGESTION__CHUNK_TOKENS", "64", True),
        ("EKIBEN_EMBEDDER__MODEL", "hub:another/model", True),
        ("EKIBEN_RETRIEVER__DENSE_WEIGHT", "0.1", False),
        ("EKIBEN_ANSWERING__ANSWER_SENTENCES", "1", False),
    ],
)
def test_a_store_is_used_again_while_its_content_would_be_the_same(
    of: QuestionSet, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, is_other: bool
) -> None:
    before = _fingerprint(of)
    assert _fingerprint(of) == before
    monkeypatch.setenv(variable, value)
    assert (_fingerprint(of) != before) is is_other


def test_the_settings_in_a_report_name_no_place_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EKIBEN_MODELS__HUB_TOKEN", "secret")
    told = shaping_settings(load_settings())
    assert told["ingestion"]["chunk_tokens"] == load_settings().ingestion.chunk_tokens
    assert not any(mark in json.dumps(told) for mark in ("data_dir", "url", "secret"))


def test_services_that_do_not_start_end_the_command_with_their_reason(run_cli: Run, of: QuestionSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EKIBEN_RETRIEVER__PROBES", "none")
    done = run_cli("eval", str(of.folder))
    assert done.exit_code == ExitCode.STARTUP
    assert "the services ended:" in done.err
    assert "retriever.probes" in done.err
