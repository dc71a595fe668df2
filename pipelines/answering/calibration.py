"""From the signals of an answer to the probability that the documents answer the question, and the threshold below which nothing is answered."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import InvalidSettings
from pipelines.answering.evidence import ABOUT, SAYS, Evidence

_CONFIDENCE_DIGITS = 4


class Logistic(BaseModel):
    """A logistic regression over named signals."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    intercept: float
    weights: Mapping[str, float]

    def probability(self, evidence: Evidence) -> float:
        """`1 / (1 + exp(-(intercept + sum of weight * signal)))`, in [0, 1]."""
        logit = self.intercept + sum(weight * evidence[name] for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))


class Calibration(BaseModel):
    """The product of two probabilities: that the documents are about the question, and that the best sentence then says what was asked.

    They are fitted apart, each on questions that differ in that alone (`ekiben calibrate`), because one regression over both kinds gives up much of
    the first to gain little of the second. `threshold` keeps `false_refusal` of the answerable questions of the sets it was fitted on below it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    about: Logistic
    says: Logistic
    threshold: Annotated[float, Field(ge=0, le=1)]
    false_refusal: Annotated[float, Field(gt=0, lt=1)]
    fitted_on: Sequence[str]

    @model_validator(mode="after")
    def _knows_its_signals(self) -> "Calibration":
        for part, model, known in (("about", self.about, ABOUT), ("says", self.says, SAYS)):
            if unknown := sorted(set(model.weights) - set(known)):
                raise ValueError(f"{part} weighs {', '.join(unknown)}, but its signals are {', '.join(known)}")
        return self

    def confidence(self, evidence: Evidence) -> float:
        """The probability that the question is answered, to four decimals."""
        return round(self.about.probability(evidence) * self.says.probability(evidence), _CONFIDENCE_DIGITS)

    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of what was fitted."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def read_calibration(path: Path) -> Calibration:
    """The calibration in the JSON file `path`. Raises InvalidSettings where it can't be read or is none."""
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"can't read the calibration {path} ({error}): name another file (answering.calibration)") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_input=False, include_url=False))
        raise InvalidSettings(f"{path} is no calibration ({faults}): make one with `ekiben calibrate`, or name another file") from error
