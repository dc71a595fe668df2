"""`ekiben eval` and `calibrate`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from clients.commands import options
from clients.commands.options import Config
from clients.exit_codes import ExitCode


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("eval")(evaluate)
    app.command()(calibrate)


def evaluate(
    sets: Annotated[list[Path], typer.Argument(help="Folders with corpus.jsonl, queries.jsonl and qrels.tsv.")],
    url: Annotated[str | None, typer.Option("--url", help="Ask running services, in a collection named after the set.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder that keeps a store for each set, so that the next run indexes nothing again.")] = None,
    questions: Annotated[int | None, typer.Option(min=1, help="Ask so many, evenly spread; all without it.")] = None,
    split: Annotated[str | None, typer.Option(help="Only the questions of this split.")] = None,
    mode: Annotated[list[str], typer.Option(help="dense, lexical or hybrid; may be repeated. Answers come from the first.")] = ["hybrid"],  # noqa: B006
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, max=100, help="Passages of an answer.")] = 5,
    retrieval_only: Annotated[bool, typer.Option("--retrieval-only", help="Search, don't answer.")] = False,
    clients: Annotated[int, typer.Option(min=1, max=64, help="Questions in flight at once.")] = 4,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything to this file, a row for each question.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write a page with tables and plots to this file.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="The --json of an earlier run; a significant loss ends in exit status 1.")] = None,
    config: Config = None,
) -> None:
    """Measure retrieval, answers, citations, abstention and latency over question sets."""
    _refuse_without_packages()
    from clients.evaluation_command import Output, run  # noqa: PLC0415
    from pipelines.evaluation.report import Options  # noqa: PLC0415

    if url is not None and data is not None:
        raise typer.BadParameter("--data keeps stores of the command's own services; with --url the documents go to those that run there")
    options.use_config(config)
    asked = options.build(
        Options,
        questions=questions,
        split=split,
        modes=tuple(dict.fromkeys(mode)),
        top_k=top_k,
        retrieval_only=retrieval_only,
        clients=clients,
    )
    is_well = run(sets, asked, data, url, Output(json_file, html_file, baseline))
    sys.exit(ExitCode.OK if is_well else ExitCode.SOME_FAILED)


def calibrate(
    about: Annotated[list[Path], typer.Option(help="--json of `ekiben eval` over a set whose unanswerable questions are about nothing in it.")],
    says: Annotated[list[Path], typer.Option(help="The same over a set whose unanswerable questions are about its passages.")],
    output: Annotated[Path, typer.Option(help="File to write, for answering.calibration.")],
    false_refusal: Annotated[float, typer.Option(min=0.001, max=0.5, help="Share of answerable questions that may be refused.")] = 0.05,
) -> None:
    """Fit how confident answers are, and below which confidence they are withheld, on evaluated question sets."""
    _refuse_without_packages()
    from clients.calibration_command import run  # noqa: PLC0415

    run(about, says, output, false_refusal)


def _refuse_without_packages() -> None:
    from importlib.util import find_spec  # noqa: PLC0415

    if missing := [name for name in ("ir_measures", "rouge_score", "sentencex", "sklearn", "matplotlib") if find_spec(name) is None]:
        raise typer.BadParameter(f"the packages of the extra `eval` are missing ({', '.join(missing)}): pip install 'ekiben[eval]'")
