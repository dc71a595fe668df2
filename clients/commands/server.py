"""`ekiben serve`, `demo` and `config`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from clients.commands import options
from clients.commands.options import Config, Json


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (serve, demo, config):
        app.command()(command)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="TCP port.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder that holds all state.")] = None,
    config: Config = None,
) -> None:
    """Start the four services."""
    from clients.serving import serve as run  # noqa: PLC0415

    options.use_config(config)
    jobs, records = (None, None) if data is None else (data / "jobs", data / "records")
    folders = {"retriever": {"data_dir": data}, "jobs": {"data_dir": jobs}, "records": {"data_dir": records}}
    run(_flags(gateway={"host": host, "port": port}, **folders))


def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 3000,
    data: Annotated[Path, typer.Option(help="Folder that holds all state.")] = Path(".ekiben/demo"),
) -> None:
    """Start the services with the sample documents and ask a question; stays up until Ctrl-C."""
    from clients.demo import demo as run  # noqa: PLC0415

    sys.exit(run(host, port, data))


def config(file: Config = None, as_json: Json = False) -> None:
    """Print every setting in force and where it comes from; secrets masked."""
    from core.settings import load_settings, provenance  # noqa: PLC0415

    options.use_config(file)
    rows = list(provenance(load_settings()))
    if as_json:
        typer.echo(json.dumps([{"key": key, "value": value, "source": source} for key, value, source in rows], indent=2))
        return
    width = max(len(key) for key, _, _ in rows)
    for key, value, source in rows:
        typer.echo(f"{key:<{width}}  {json.dumps(value)}  ({source})")


def _flags(**sections: dict[str, Any]) -> dict[str, dict[str, object]]:
    given = {section: {key: value for key, value in values.items() if value is not None} for section, values in sections.items()}
    return {section: values for section, values in given.items() if values}
