"""Commands on a data folder itself: `verify`, `repair`, `backup` and `restore`. They need no running service."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clients.exit_codes import ExitCode

if TYPE_CHECKING:
    from core.settings import RetrieverSettings

Data = Annotated[Path | None, typer.Option("--data", help="Folder that holds all state; the one of the settings without it.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (verify, repair, backup, restore):
        app.command()(command)


def verify(data: Data = None) -> None:
    """Check the store of a stopped service end to end; exit status 7 where it has a fault."""
    from services.retriever.repairing import verify_folder  # noqa: PLC0415

    settings = _settings(data)
    faults = verify_folder(settings)
    for fault in faults:
        typer.echo(fault)
    typer.echo(f"{len(faults)} faults in {settings.data_dir}" if faults else f"{settings.data_dir} is sound")
    sys.exit(ExitCode.FAULTS if faults else ExitCode.OK)


def repair(
    data: Data = None,
    accept_loss: Annotated[bool, typer.Option("--accept-loss", help="Go on without acknowledged commits that are missing.")] = False,
) -> None:
    """Rebuild what is derived from the documents, in the store of a stopped service; what can't be mended is moved to salvaged-*.jsonl."""
    from services.retriever.repairing import repair_folder  # noqa: PLC0415

    for line in repair_folder(_settings(data).data_dir, accept_loss=accept_loss):
        typer.echo(line)


def backup(target: Annotated[Path, typer.Argument(help="File to write; it must not exist.")], data: Data = None) -> None:
    """Write the store to one file, as of one commit; a service may be running on it."""
    from services.retriever.backup import back_up  # noqa: PLC0415

    size = back_up(_settings(data).data_dir, target)
    typer.echo(f"{target}: {size} bytes")


def restore(source: Annotated[Path, typer.Argument(help="File that `ekiben backup` wrote.")], data: Data = None) -> None:
    """Make a backup the store; what is stored now is forgotten. A running service takes it over between two questions."""
    from services.retriever.backup import restore as take_back  # noqa: PLC0415

    folder = _settings(data).data_dir
    take_back(source, folder)
    typer.echo(f"{folder} holds {source} now")


def _settings(data: Path | None) -> "RetrieverSettings":
    from core.settings import load_settings  # noqa: PLC0415

    return load_settings({"retriever": {"data_dir": data}} if data else None).retriever
