"""`ekiben eval`: reads the sets, measures, prints, writes, compares."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from clients.evaluating.files import read_report, write_report
from clients.evaluating.running import evaluate
from clients.evaluating.tables import render_comparison, render_report
from core.errors import BadEvaluation
from pipelines.evaluation.comparing import Comparison, check_baseline, compare
from pipelines.evaluation.question_sets import QuestionSet, read_question_set
from pipelines.evaluation.report import Options, Report


@dataclass(frozen=True)
class Output:
    """Files: two to write, and the baseline to compare with."""

    json_file: Path | None
    html_file: Path | None
    baseline: Path | None


def run(folders: Sequence[Path], options: Options, data: Path | None, url: str | None, output: Output) -> bool:
    """Evaluate, and print the tables. Returns whether all is well: nothing failed, every offset resolved, and no measure fell.

    Raises BadEvaluation, before anything is started, where a set or the baseline is broken.
    """
    sets = _read(folders, options.split)
    before = read_report(output.baseline) if output.baseline else None
    if before:
        check_baseline(before, {of.name: of.digest for of in sets}, options.top_k)
    report = evaluate(sets, options, data, url)
    typer.echo(render_report(report))
    if output.json_file:
        write_report(report, output.json_file)
    comparisons = compare(before, report) if before else ()
    for comparison in comparisons:
        typer.echo(f"\n{render_comparison(comparison)}")
    if output.html_file:
        _write_page(report, comparisons, output.html_file)
    return _is_complete(report) and not any(comparison.losses for comparison in comparisons)


def _read(folders: Sequence[Path], split: str | None) -> list[QuestionSet]:
    sets = [read_question_set(folder, split) for folder in folders]
    name, count = Counter(of.name for of in sets).most_common(1)[0]
    if count > 1:
        raise BadEvaluation(f"two of the folders are called {name!r}, and a set goes by its folder's name")
    return sets


def _is_complete(report: Report) -> bool:
    return not any(one.failed or one.documents_failed or one.offsets_broken for one in report.sets)


def _write_page(report: Report, comparisons: Sequence[Comparison], path: Path) -> None:
    from clients.evaluating.page import render_page  # noqa: PLC0415 - matplotlib takes a second

    path.write_text(render_page(report, comparisons), encoding="utf-8")
