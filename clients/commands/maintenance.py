"""`ekiben status`, `compact` and `reindex`."""

import sys
from typing import TYPE_CHECKING

import typer

from clients.commands import options
from clients.commands.options import DEFAULT_URL, Json, Url
from clients.exit_codes import ExitCode

if TYPE_CHECKING:
    from clients.http_client import EkibenClient
    from core.schemas import ReindexStatus


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (status, compact, reindex):
        app.command()(command)


def status(url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Show the state of all parts; exit status 5 where one is not ready."""
    from clients.rendering import render_status  # noqa: PLC0415

    with options.open_client(url) as client:
        state = client.status()
    typer.echo(state.model_dump_json(indent=2) if as_json else render_status(state))
    sys.exit(ExitCode.OK if state.ready else ExitCode.SERVER_ERROR)


def compact(url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Give the space of deleted documents back to the disk."""
    from clients.rendering import render_compaction  # noqa: PLC0415

    with options.open_client(url) as client:
        receipt = client.compact()
    typer.echo(receipt.model_dump_json(indent=2) if as_json else render_compaction(receipt))


def reindex(url: Url = DEFAULT_URL) -> None:
    """Move the index over to the Embedder's newest model, and follow it; Ctrl-C ends the following, not the reindexing."""
    with options.open_client(url, patient=True) as client:
        last = _begin(client)
        for last in client.watch_reindex():
            _tell(last)
    if last.state == "failed":
        reason = last.error.message if last.error else "the log of the Retriever says why"
        typer.echo(f"ekiben: the reindexing failed: {reason}", err=True)
        sys.exit(ExitCode.SOME_FAILED)
    typer.echo("the index is that of the new model")


def _begin(client: "EkibenClient") -> "ReindexStatus":
    from core.errors import ReindexConflict  # noqa: PLC0415

    try:
        return client.reindex()
    except ReindexConflict:
        store = client.status().store
        if store is None or store.reindex is None or store.reindex.state == "failed":
            raise
        return store.reindex


def _tell(progress: "ReindexStatus") -> None:
    if sys.stderr.isatty():
        typer.echo(f"\r{progress.documents_done} of {progress.documents_total} documents", err=True, nl=False)
