"""`ekiben jobs`."""

from itertools import islice
from typing import Annotated

import typer

from clients.commands import options
from clients.commands.options import DEFAULT_URL, Json, Limit, OnlyCollection, Url

JobId = Annotated[str, typer.Argument(help="Id of the job.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(no_args_is_help=True, help="List, show and cancel jobs.")
    group.command("list")(list_jobs)
    group.command("show")(show)
    group.command("cancel")(cancel)
    app.add_typer(group, name="jobs")


def list_jobs(
    url: Url = DEFAULT_URL,
    collection: OnlyCollection = None,
    state: Annotated[str | None, typer.Option(help="Only those that are queued, running, done or cancelled.")] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """List the jobs, newest first."""
    from clients.rendering import render_job_row  # noqa: PLC0415
    from core.schemas import ListJobsRequest  # noqa: PLC0415

    asked = options.build(ListJobsRequest, collection=collection, state=state)
    with options.open_client(url) as client:
        for job in islice(client.all_jobs(asked.collection, asked.state), limit):
            typer.echo(job.model_dump_json() if as_json else render_job_row(job))


def show(job_id: JobId, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Show a job and what failed in it."""
    from clients.rendering import render_job  # noqa: PLC0415

    with options.open_client(url) as client:
        job = client.job(job_id)
    typer.echo(job.model_dump_json(indent=2) if as_json else render_job(job))


def cancel(job_id: JobId, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Stop a job before its next document; what is stored stays."""
    from clients.rendering import render_job  # noqa: PLC0415

    with options.open_client(url) as client:
        job = client.cancel_job(job_id)
    typer.echo(job.model_dump_json(indent=2) if as_json else render_job(job))
