from collections.abc import Mapping

import numpy as np
import pytest

from core.errors import BadEvaluation
from pipelines.answering.evidence import ABOUT, SAYS
from pipelines.evaluation.calibrating import calibrate
from pipelines.evaluation.report import AnswerRow, Measured, Row, SetReport

NAMES = tuple({*ABOUT, *SAYS})


def _row(number: int, *, answerable: bool, evidence: Mapping[str, float] | None) -> Row:
    answer = AnswerRow(text="", abstained=True, confidence=0.0, citations=(), evidence=None if evidence is None else dict(evidence))
    return Row(id=str(number), answerable=answerable, answer=answer)


def _report(name: str, telling: str, direction: float, count: int = 400) -> SetReport:
    """Half answerable; the signal `telling` is one standard deviation apart, the others are noise."""
    rng = np.random.default_rng(7)
    rows = []
    for number in range(count):
        signals = dict(zip(NAMES, rng.normal(0.5, 0.2, len(NAMES)), strict=True))
        answerable = number % 2 == 0
        signals[telling] += direction * (0.2 if answerable else 0.0)
        rows.append(_row(number, answerable=answerable, evidence=signals))
    return _of(name, rows)


def _of(name: str, rows: list[Row]) -> SetReport:
    measured = Measured(version="0", encoder=None, generator=None, settings=None)
    return SetReport(
        name=name, digest="", split=None, documents=1, documents_failed=0, measured=measured, measures=(), latencies=(), coverage=(), risk=(),
        rows=tuple(rows),
    )  # fmt: skip


def test_each_part_learns_the_signal_that_tells_in_its_set() -> None:
    calibration, fitted = calibrate([_report("topics", "passage_coverage", 1.0)], [_report("traps", "names_missing", -1.0)], 0.05)
    assert max(calibration.about.weights, key=lambda name: abs(calibration.about.weights[name])) == "passage_coverage"
    assert max(calibration.says.weights, key=lambda name: abs(calibration.says.weights[name])) == "names_missing"
    assert calibration.about.weights["passage_coverage"] > 0 > calibration.says.weights["names_missing"]
    assert [one.name for one in fitted] == list(calibration.fitted_on) == ["topics", "traps"]
    for one in fitted:
        assert one.calibrated[0] > one.top_score[0] + 0.05
        assert abs(one.top_score[0] - 0.5) < 0.1


def test_the_threshold_keeps_the_asked_share_of_answerable_questions_in_each_set() -> None:
    reports = _report("topics", "passage_coverage", 1.0), _report("traps", "names_missing", -1.0)
    strict, lax = (calibrate([reports[0]], [reports[1]], share)[0] for share in (0.01, 0.2))
    assert strict.threshold < lax.threshold
    for report in reports:
        confidences = [lax.confidence(row.answer.evidence) for row in report.rows if row.answerable and row.answer and row.answer.evidence]
        assert np.mean([confidence < lax.threshold for confidence in confidences]) <= 0.25


def test_signals_that_tell_nothing_gain_nothing() -> None:
    _, fitted = calibrate([_report("topics", "passage_coverage", 0.0)], [_report("traps", "names_missing", 0.0)], 0.05)
    assert all(abs(one.calibrated[0] - 0.5) < 0.1 for one in fitted)


@pytest.mark.parametrize("answerable", [True, False])
def test_a_set_of_one_kind_of_questions_is_refused(answerable: bool) -> None:
    good = _report("topics", "passage_coverage", 1.0)
    rows = [row.model_copy(update={"answerable": answerable}) for row in good.rows]
    with pytest.raises(BadEvaluation, match="'lopsided'"):
        calibrate([_of("lopsided", rows)], [good], 0.05)


def test_reports_without_evidence_are_refused() -> None:
    good = _report("topics", "passage_coverage", 1.0)
    with pytest.raises(BadEvaluation, match="'old'"):
        calibrate([good], [_of("old", [_row(number, answerable=number % 2 == 0, evidence=None) for number in range(20)])], 0.05)
