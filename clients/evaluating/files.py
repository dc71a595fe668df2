"""Reports as JSON files."""

import json
from pathlib import Path

from pydantic import ValidationError

from core.errors import BadEvaluation
from pipelines.evaluation.report import Report
from pipelines.ingestion.refusing import explain


def write_report(report: Report, path: Path) -> None:
    """Write `report` with a row a line, so that two of them can be compared line by line. Raises OSError."""
    content = report.model_dump(mode="json")
    rows = [one.pop("rows") for one in content["sets"]]
    head = json.dumps(content | {"sets": []}, indent=1, ensure_ascii=False)
    sets = ",\n".join(_set_text(one, its_rows) for one, its_rows in zip(content["sets"], rows, strict=True))
    path.write_text(head.replace('"sets": []', f'"sets": [\n{sets}\n]') + "\n", encoding="utf-8")


def _set_text(content: dict[str, object], rows: list[object]) -> str:
    fields = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items())
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return f'{{{fields},\n"rows": [\n{lines}\n]}}'


def read_report(path: Path) -> Report:
    """What `write_report` wrote. Raises BadEvaluation."""
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadEvaluation(f"{path}: {error.strerror}; `ekiben eval SET --json FILE` writes a baseline") from error
    except ValidationError as error:
        raise BadEvaluation(f"{path} is no report of `ekiben eval`: {explain(error)}") from error
