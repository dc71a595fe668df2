import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipelines.evaluation.abstention import area_under, auroc, refusals_at, risk_coverage, threshold_at

CONFIDENCES = arrays.arrays(np.float64, st.integers(1, 30), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))


def of(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_auroc_is_that_computed_by_hand() -> None:
    # Pairs: .9 beats both, .5 beats .2 and ties with .5.
    assert auroc(of(0.9, 0.5), of(0.5, 0.2)) == pytest.approx(3.5 / 4)
    assert auroc(of(0.9), of(0.1)) == 1
    assert auroc(of(0.1), of(0.9)) == 0
    assert np.isnan(auroc(of(), of(0.1)))


@given(CONFIDENCES, CONFIDENCES)
def test_auroc_is_the_share_of_pairs(answerable: np.ndarray, others: np.ndarray) -> None:
    pairs = [(a > b) + 0.5 * (a == b) for a in answerable for b in others]
    assert auroc(answerable, others) == pytest.approx(np.mean(pairs))
    assert auroc(answerable, others) + auroc(others, answerable) == pytest.approx(1)


def test_refusals_at_5_percent_false_refusal_are_those_computed_by_hand() -> None:
    # Of 20 answerable questions one may be refused: everything below the second lowest confidence is.
    answerable = of(0.1, 0.3, *[0.9] * 18)
    assert threshold_at(answerable) == pytest.approx(0.3)
    assert refusals_at(answerable, of(0.05, 0.2, 0.3, 0.95)) == 0.5
    # Of 19 none may.
    assert refusals_at(answerable[:19], of(0.05, 0.2, 0.3, 0.95)) == 0.25
    assert np.isnan(refusals_at(of(), of(0.1)))


@given(CONFIDENCES, st.floats(0, 0.99))
def test_never_more_than_the_allowed_share_is_refused_falsely(answerable: np.ndarray, share: float) -> None:
    assert np.mean(answerable < threshold_at(answerable, share)) <= share


def test_risk_and_coverage_are_those_computed_by_hand() -> None:
    coverage, risk = risk_coverage(of(0.5, 0.9, 0.5, 0.1), of(1, 1, 0, 0))
    assert coverage.tolist() == [0.25, 0.75, 1.0]
    assert risk.tolist() == [0, pytest.approx(1 / 3), 0.5]
    assert area_under(coverage, risk) == pytest.approx(0.5 / 3 + 0.25 * 0.5)


def test_the_curve_of_nothing_is_empty() -> None:
    coverage, risk = risk_coverage(of(), of())
    assert (len(coverage), len(risk)) == (0, 0)
    assert np.isnan(area_under(coverage, risk))


@given(CONFIDENCES, st.data())
def test_the_risk_of_answering_everything_is_the_share_of_wrong_answers(confidence: np.ndarray, data: st.DataObject) -> None:
    right = data.draw(arrays.arrays(np.float64, len(confidence), elements=st.sampled_from([0.0, 1.0])))
    coverage, risk = risk_coverage(confidence, right)
    assert coverage[-1] == 1
    assert risk[-1] == pytest.approx(1 - right.mean())
    assert (np.diff(coverage) > 0).all()
