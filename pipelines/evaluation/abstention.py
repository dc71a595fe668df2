"""How well an answer's confidence tells the questions that the documents answer from those they don't."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
"""float64 `[n]`."""
FALSE_REFUSAL = 0.05
"""Share of the answerable questions that may be refused, where the refusals of the others are counted."""


def auroc(answerable: Floats, unanswerable: Floats) -> float:
    """The share of pairs of an answerable and an unanswerable question in which the answerable one has the higher confidence; ties count half.

    That is the area under the ROC curve (Hanley and McNeil 1982). NaN where either kind is missing.
    """
    if not len(answerable) or not len(unanswerable):
        return float("nan")
    others = np.sort(unanswerable)
    below = np.searchsorted(others, answerable, "left") + np.searchsorted(others, answerable, "right")
    return float(below.mean() / (2 * len(others)))


def threshold_at(answerable: Floats, false_refusal: float = FALSE_REFUSAL) -> float:
    """The highest threshold below which at most the share `false_refusal` of the answerable questions lies; refused is what is below."""
    return float(np.sort(answerable)[int(false_refusal * len(answerable))])


def refusals_at(answerable: Floats, unanswerable: Floats, false_refusal: float = FALSE_REFUSAL) -> float:
    """The share of the unanswerable questions below `threshold_at`. NaN where either kind is missing."""
    if not len(answerable) or not len(unanswerable):
        return float("nan")
    return float(np.mean(unanswerable < threshold_at(answerable, false_refusal)))


def risk_coverage(confidence: Floats, right: Floats) -> tuple[Floats, Floats]:
    """(coverage, risk) after each threshold, from the most confident answer down; questions of equal confidence are answered together.

    Coverage is the share of questions answered, risk the share of wrong ones among them (Geifman and El-Yaniv 2017, "Selective Classification for
    Deep Neural Networks"). `right` is 1 or 0; to answer an unanswerable question is wrong.
    """
    order = np.argsort(-confidence, kind="stable")
    answered = np.arange(1, len(order) + 1)
    wrong = np.cumsum(1 - right[order])
    last_of_tie = np.append(np.diff(confidence[order]) != 0, True) if len(order) else np.zeros(0, bool)
    return (answered / max(len(order), 1))[last_of_tie], (wrong / answered)[last_of_tie]


def area_under(coverage: Floats, risk: Floats) -> float:
    """The mean risk over all coverages (AURC), 0 is best: each step of the curve counts by its width. NaN for an empty curve."""
    return float(np.sum(np.diff(coverage, prepend=0.0) * risk)) if len(coverage) else float("nan")
