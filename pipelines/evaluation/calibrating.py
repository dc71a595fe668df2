"""Fits the calibration of abstention on the answers of evaluated question sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from core.errors import BadEvaluation
from pipelines.answering.calibration import Calibration, Logistic
from pipelines.answering.evidence import ABOUT, SAYS
from pipelines.evaluation.abstention import Floats, auroc, refusals_at, threshold_at
from pipelines.evaluation.report import SetReport

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

FOLDS: Final = 5
_SEED: Final = 1
_WEIGHT_DIGITS: Final = 4
# Weak, for signals of about unit size: thousands of questions against a dozen weights.
_INVERSE_PENALTY: Final = 100.0


@dataclass(frozen=True)
class Fitted:
    """How well a set's unanswerable questions are told: by the best cosine alone, and by the calibration (cross-validated where the set was fitted
    on). AUROC, and share refused where `false_refusal` of the answerable ones are.
    """

    name: str
    questions: int
    top_score: tuple[float, float]
    calibrated: tuple[float, float]


def calibrate(about: Sequence[SetReport], says: Sequence[SetReport], false_refusal: float) -> tuple[Calibration, tuple[Fitted, ...]]:
    """The calibration, with its threshold where `false_refusal` of the answerable questions of the set that loses most lie below it.

    Raises BadEvaluation where a report has no evidence, or lacks answerable or unanswerable questions.
    """
    parts = {"about": ([_Table.of(report, ABOUT) for report in about], ABOUT), "says": ([_Table.of(report, SAYS) for report in says], SAYS)}
    models = {part: _fit(tables, names) for part, (tables, names) in parts.items()}
    fitted, thresholds = [], []
    for part, reports in (("about", about), ("says", says)):
        other = "says" if part == "about" else "about"
        for report, own, foreign in zip(reports, parts[part][0], [_Table.of(one, parts[other][1]) for one in reports], strict=True):
            confidence = own.cross_validated() * _probabilities(models[other], foreign)
            good, bad = confidence[own.answerable], confidence[~own.answerable]
            dense = np.array([row["dense"] for row in own.evidence])
            top = (dense[own.answerable], dense[~own.answerable])
            thresholds.append(threshold_at(good, false_refusal))
            fitted.append(
                Fitted(
                    report.name,
                    len(confidence),
                    (auroc(*top), refusals_at(*top, false_refusal)),
                    (auroc(good, bad), refusals_at(good, bad, false_refusal)),
                )
            )
    calibration = Calibration(
        about=models["about"],
        says=models["says"],
        threshold=round(min(thresholds), _WEIGHT_DIGITS),
        false_refusal=false_refusal,
        fitted_on=tuple(report.name for report in (*about, *says)),
    )
    return calibration, tuple(fitted)


@dataclass(frozen=True)
class _Table:
    """`signals` float64 `[n, len(names)]`, `answerable` bool `[n]`."""

    evidence: Sequence[Mapping[str, float]]
    signals: Floats
    answerable: np.ndarray[tuple[int], np.dtype[np.bool_]]

    @classmethod
    def of(cls, report: SetReport, names: Sequence[str]) -> "_Table":
        rows = [(row.answer.evidence, row.answerable) for row in report.rows if row.answer and row.answer.evidence]
        table = cls(
            [evidence for evidence, _ in rows],
            np.array([[evidence[name] for name in names] for evidence, _ in rows], np.float64).reshape(-1, len(names)),
            np.array([answerable for _, answerable in rows], bool),
        )
        if min(np.count_nonzero(table.answerable), np.count_nonzero(~table.answerable)) < FOLDS:
            raise BadEvaluation(f"the report on {report.name!r} has fewer than {FOLDS} answerable or unanswerable questions with evidence")
        return table

    def cross_validated(self) -> Floats:
        """The probability of each question by a fit on the others, in folds."""
        from sklearn.model_selection import StratifiedKFold, cross_val_predict  # noqa: PLC0415 - it looks for torch, which pipelines do without

        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=_SEED)
        found = cross_val_predict(_regression(), self.signals, self.answerable, cv=folds, method="predict_proba")
        return np.asarray(found[:, 1], np.float64)


def _regression() -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - as above

    return LogisticRegression(C=_INVERSE_PENALTY, max_iter=5_000)


def _fit(tables: Sequence[_Table], names: Sequence[str]) -> Logistic:
    """One fit over all tables, each with the same weight."""
    weights = np.concatenate([np.full(len(table.answerable), 1 / len(table.answerable)) for table in tables])
    model = _regression().fit(
        np.concatenate([table.signals for table in tables]),
        np.concatenate([table.answerable for table in tables]),
        sample_weight=weights / weights.mean(),
    )
    return Logistic(
        intercept=round(float(model.intercept_[0]), _WEIGHT_DIGITS),
        weights={name: round(float(weight), _WEIGHT_DIGITS) for name, weight in zip(names, model.coef_[0], strict=True)},
    )


def _probabilities(model: Logistic, table: _Table) -> Floats:
    return np.array([model.probability(evidence) for evidence in table.evidence], np.float64)
