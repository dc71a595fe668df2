"""`ekiben ingest` and `upload`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clients.commands import options
from clients.commands.options import DEFAULT_COLLECTION, DEFAULT_URL, Collection, Fields, Json, Url
from clients.exit_codes import ExitCode

if TYPE_CHECKING:
    from clients.http_client import EkibenClient
    from core.schemas import Job


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (ingest, upload):
        app.command()(command)


def ingest(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or - for standard input.")],
    url: Url = DEFAULT_URL,
    collection: Collection = DEFAULT_COLLECTION,
    name: Annotated[str, typer.Option(help="File name of what comes on standard input; its suffix tells the format.")] = "stdin.txt",
    fields: Fields = None,
    sync: Annotated[bool, typer.Option("--sync", help="Afterwards delete what is in the collection and not in the paths.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would become of each document.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that parse files.")] = min(4, os.cpu_count() or 1),
    as_json: Json = False,
) -> None:
    """Store documents. What is stored already is not sent again, so that a run that was cut short is finished by the next one.

    A server that is busy, or goes away in the middle, is waited for: up to five minutes for each batch.
    """
    from clients.ingest_command import IngestOptions, ingest_paths  # noqa: PLC0415
    from clients.ingesting.finding import STDIN  # noqa: PLC0415

    if sync and STDIN in paths:
        raise typer.BadParameter("--sync compares a collection with files and folders; it can't be used with standard input (-)")
    asked = IngestOptions(
        collection=collection,
        stdin_name=name,
        fields=options.parse_fields(fields),
        sync=sync,
        dry_run=dry_run,
        workers=workers,
        as_json=as_json,
    )
    is_complete = ingest_paths(paths, options.open_client(url, patient=True), asked)
    sys.exit(ExitCode.OK if is_complete else ExitCode.SOME_FAILED)


def upload(
    files: Annotated[list[Path], typer.Argument(help="Files that the server loads.", exists=True, dir_okay=False, readable=True)],
    url: Url = DEFAULT_URL,
    collection: Collection = DEFAULT_COLLECTION,
    fields: Fields = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the documents are stored.")] = False,
    as_json: Json = False,
) -> None:
    """Send files for the server to load, as a job; each document goes by its file's name."""
    from clients.rendering import render_job  # noqa: PLC0415

    keys = options.parse_fields(fields)
    _refuse_equal_names(files)
    with options.open_client(url, patient=True) as client:
        job = client.upload(files, collection, keys)
        if wait:
            job = _follow(client, job.id)
    typer.echo(job.model_dump_json(indent=2) if as_json else render_job(job))
    is_complete = job.documents.failed == 0 and job.state != "cancelled"
    sys.exit(ExitCode.OK if is_complete else ExitCode.SOME_FAILED)


def _refuse_equal_names(files: list[Path]) -> None:
    names = [file.name for file in files]
    for name in names:
        if names.count(name) > 1:
            raise typer.BadParameter(f"{name!r} occurs twice, and a file's name is its document's id: use `ekiben ingest FOLDER`")


def _follow(client: "EkibenClient", job_id: str) -> "Job":
    """The job when it is finished; its id and progress go to stderr, so that Ctrl-C loses sight of nothing."""
    typer.echo(f"job {job_id}", err=True)
    *_, job = (_tell(job) for job in client.watch(job_id))
    return job


def _tell(job: "Job") -> "Job":
    if sys.stderr.isatty():
        typer.echo(f"\r{job.items_done} of {job.items} files", err=True, nl=job.finished_at is not None)
    return job
