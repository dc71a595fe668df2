import json
from typing import Any

import pytest

from clients.exit_codes import ExitCode
from clients.http_client import EkibenClient
from core.schemas import Conditions, GeneratorInfo
from tests.clients.conftest import Run
from tests.clients.fake_gateway import ANSWER, CITATION, PASSAGE, RECORD, FakeGateway

OTHER = PASSAGE.model_copy(update={"chunk_id": "b.md#0", "document_id": "b.md"})


def _becomes(gateway: FakeGateway, **changed: Any) -> None:
    gateway.replayed = ANSWER.model_copy(update={"id": "ans_2", **changed})


def test_an_identical_answer_ends_in_peace(run_cli: Run, gateway: FakeGateway) -> None:
    _becomes(gateway, timings_ms={"total": 99.0})
    done = run_cli("replay", "ans_1")
    assert (done.exit_code, done.err) == (ExitCode.OK, "")
    assert done.out == "Q: What?\n   ans_1, answered 2026-01-01\n\nthe answer is identical\n"


def test_other_conditions_are_shown_and_the_answer_is_identical_all_the_same(run_cli: Run, gateway: FakeGateway) -> None:
    generator = GeneratorInfo(backend="extractive", model="", device="cpu")
    _becomes(gateway, conditions=Conditions(version="2", index_version=8, encoder="abcd", generator=generator, settings={"answering.x": 1}))
    done = run_cli("replay", "ans_1")
    assert done.exit_code == ExitCode.OK
    for line in ("  index_version: 0 -> 8", "  encoder: none -> abcd", "  generator backend: none -> extractive", "  answering.x: none -> 1"):
        assert line in done.out.splitlines()
    assert "identical, though" in done.out


def test_a_different_answer_has_an_exit_status_of_its_own(run_cli: Run, gateway: FakeGateway) -> None:
    _becomes(
        gateway,
        answer="Another text.",
        sentences=("Another text.",),
        passages=(OTHER, PASSAGE),
        citations=(CITATION.model_copy(update={"document_id": "b.md", "sentence": 1}),),
        confidence=0.25,
    )
    done = run_cli("replay", "ans_1")
    assert done.exit_code == ExitCode.DIFFERENT
    for line in (
        "+ passage b.md#0 (default), rank 1",
        "~ passage a.md#0 (default), rank 1 -> 2",
        "+ sentence Another text.",
        "+ citation of sentence 2: b.md, characters 0 to 9",
        "- citation of sentence 1: a.md, characters 0 to 9",
        "  confidence: 0.5 -> 0.25",
        "the answer is different, though it was made with the same; now it is:",
        "Another text.",
    ):
        assert line in done.out.splitlines()


def test_a_changed_text_is_shown_with_its_ranks(run_cli: Run, gateway: FakeGateway) -> None:
    _becomes(gateway, passages=(PASSAGE.model_copy(update={"text": "x"}),))
    assert "~ passage a.md#0 (default), another text, rank 1 -> 1" in run_cli("replay", "ans_1").out


@pytest.mark.parametrize(("confidence", "code"), [(0.5, ExitCode.OK), (0.4, ExitCode.DIFFERENT)])
def test_json_is_what_the_gateway_answered(run_cli: Run, gateway: FakeGateway, confidence: float, code: ExitCode) -> None:
    _becomes(gateway, confidence=confidence)
    done = run_cli("replay", "ans_1", "--json")
    shown = json.loads(done.out)
    assert (done.exit_code, shown["identical"]) == (code, code == ExitCode.OK)
    assert (shown["record"]["id"], shown["answer"]["id"]) == ("ans_1", "ans_2")


def test_an_answer_without_a_record_is_refused(run_cli: Run) -> None:
    done = run_cli("replay", "ans_0")
    assert (done.exit_code, done.out) == (ExitCode.REFUSED, "")
    assert "ans_0" in done.err


def test_an_answer_shows_the_id_to_replay_it_by(run_cli: Run) -> None:
    assert run_cli("ask", "What?").out.splitlines()[-1] == "confidence 0.50, 12 ms, ans_1"


def test_the_client_gets_the_record(gateway: FakeGateway) -> None:
    import httpx

    with EkibenClient(transport=httpx.MockTransport(gateway)) as client:
        assert client.record("ans_1") == RECORD
