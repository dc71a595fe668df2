"""`ekiben replay`."""

import sys
from typing import Annotated

import typer

from clients.commands import options
from clients.commands.options import DEFAULT_URL, Json, Url
from clients.exit_codes import ExitCode


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(replay)


def replay(
    answer_id: Annotated[str, typer.Argument(metavar="ID", help="Id of an answer: ans_...")],
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Ask a recorded question again and show what is different; exit status 9 where the answer is."""
    from clients.replays import render_replay  # noqa: PLC0415

    with options.open_client(url) as client:
        replayed = client.replay(answer_id)
    typer.echo(replayed.model_dump_json(indent=2) if as_json else render_replay(replayed))
    sys.exit(ExitCode.OK if replayed.identical else ExitCode.DIFFERENT)
