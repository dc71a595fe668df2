"""`ekiben calibrate`: reads reports of `ekiben eval`, fits, prints what was gained, writes the file."""

from collections.abc import Sequence
from pathlib import Path

import typer

from clients.evaluating.files import read_report
from clients.evaluating.tables import align
from pipelines.evaluation.calibrating import calibrate
from pipelines.evaluation.report import SetReport
from services.durable import write_durably


def run(about: Sequence[Path], says: Sequence[Path], output: Path, false_refusal: float) -> None:
    """Write the calibration to `output`. Raises BadEvaluation where a report can't be read or has nothing to fit on."""
    calibration, fitted = calibrate(_sets(about), _sets(says), false_refusal)
    write_durably(output, calibration.model_dump_json(indent=2).encode() + b"\n")
    lines = [("set", "questions", "AUROC, top score", "calibrated", f"refused at {false_refusal:.0%} false refusal, top score", "calibrated")]
    for one in fitted:
        figures = (*one.top_score, *one.calibrated)
        area, refused, own_area, own_refused = (f"{figure:.3f}" for figure in figures)
        lines.append((one.name, str(one.questions), area, own_area, refused, own_refused))
    typer.echo("\n".join(align(lines)))
    typer.echo(f"wrote {output}: below a confidence of {calibration.threshold} nothing is answered")


def _sets(files: Sequence[Path]) -> list[SetReport]:
    return [one for file in files for one in read_report(file).sets]
