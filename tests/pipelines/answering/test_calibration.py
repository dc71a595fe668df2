import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidSettings
from core.settings import CONFIGS
from pipelines.answering.calibration import Calibration, Logistic, read_calibration
from pipelines.answering.evidence import ABOUT, SAYS

SHIPPED = CONFIGS / "calibration.json"
signals = st.fixed_dictionaries({name: st.floats(-1, 1) for name in {*ABOUT, *SAYS}})


def test_a_probability_is_the_logistic_of_the_weighted_signals() -> None:
    model = Logistic(intercept=-1.0, weights={"dense": 2.0, "lexical": -0.5})
    assert model.probability({"dense": 0.75, "lexical": 1.0, "other": 9.0}) == pytest.approx(0.5)


@given(signals)
def test_the_shipped_calibration_gives_a_probability(evidence: dict[str, float]) -> None:
    assert 0 <= read_calibration(SHIPPED).confidence(evidence) <= 1


def test_the_shipped_calibration_trusts_nearer_documents_more_and_missing_names_less() -> None:
    calibration = read_calibration(SHIPPED)
    good = dict.fromkeys({*ABOUT, *SAYS}, 0.0) | {
        "dense": 0.7,
        "dense_first": 0.7,
        "lexical": 0.8,
        "sentence_coverage": 0.8,
        "near_coverage": 0.9,
        "passage_coverage": 0.9,
    }
    assert calibration.confidence(good) > calibration.threshold
    for worse in ({"dense": 0.2}, {"names_missing": 1.0}, {"negation_missing": 1.0}, {"sentence_coverage": 0.0}):
        assert calibration.confidence(good | worse) < calibration.confidence(good)


def test_extreme_signals_do_not_overflow() -> None:
    assert Logistic(intercept=0.0, weights={"dense": -1e6}).probability({"dense": 1.0}) == pytest.approx(math.exp(-60))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"about": {"intercept": 0, "weights": {"shoe_size": 1}}}, "about weighs shoe_size"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": None}, "threshold"),
        ({"says": {"intercept": "NaN", "weights": {}}}, "says.intercept"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_no_calibration_is_refused_with_the_way_out(tmp_path: Path, change: dict[str, object], message: str) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(json.loads(SHIPPED.read_text()) | change))
    with pytest.raises(InvalidSettings, match=message) as refusal:
        read_calibration(file)
    assert "ekiben calibrate" in refusal.value.message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]"])
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "calibration.json"
    file.write_bytes(content)
    with pytest.raises(InvalidSettings, match=r"calibration\.json"):
        read_calibration(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"answering\.calibration"):
        read_calibration(tmp_path / "none.json")


def test_a_calibration_is_what_was_fitted() -> None:
    calibration = read_calibration(SHIPPED)
    assert Calibration.model_validate_json(calibration.model_dump_json()) == calibration
    assert calibration.about.weights.keys() == set(ABOUT)
    assert calibration.says.weights.keys() == set(SAYS)
