"""The command line, `ekiben`. Results go to stdout, progress and errors to stderr."""

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperGroup

from clients import store_commands
from clients.commands import answers, collections, documents, evaluation, ingestion, jobs, maintenance, models, questions, server
from clients.exit_codes import ExitCode

if TYPE_CHECKING:
    from core.errors import EkibenError


class _Commands(TyperGroup):
    """Ends in peace when the reader of stdout (`| head`) has what it wanted. Typer would answer with exit status 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            # Python would complain once more while flushing at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(ExitCode.OK)


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Question answering over your own documents."
)
for noun in (server, ingestion, questions, evaluation, answers, documents, collections, jobs, models, maintenance, store_commands):
    noun.register(app)


def main() -> None:
    """Entry point: runs a command and turns errors into messages and exit codes."""
    try:
        app()
    except SystemExit:
        raise
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except _our_errors() as error:
        _fail(error)


def _our_errors() -> "type[EkibenError]":
    """What `except` asks for only after something was raised: `--help` must not wait for pydantic."""
    from core.errors import EkibenError  # noqa: PLC0415

    return EkibenError


def _fail(error: "EkibenError") -> NoReturn:
    from clients.connection import Unreachable  # noqa: PLC0415
    from core.errors import BadEvaluation, StartupError  # noqa: PLC0415

    typer.echo(f"ekiben: {error.message}", err=True)
    if isinstance(error, BadEvaluation):
        sys.exit(ExitCode.BAD_EVALUATION)
    if isinstance(error, StartupError):
        sys.exit(ExitCode.STARTUP)
    if isinstance(error, Unreachable):
        sys.exit(ExitCode.UNREACHABLE)
    refused = error.status is not None and error.status < 500  # noqa: PLR2004
    sys.exit(ExitCode.REFUSED if refused else ExitCode.SERVER_ERROR)
