"""`ekiben models`: the BentoML model store, which `bentoml:TAG` in the settings means."""

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from clients.commands.options import Json

if TYPE_CHECKING:
    from services.model_store import StoredModel


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(no_args_is_help=True, help="Keep models in the BentoML model store. They need no running service.")
    group.command("add")(add)
    group.command("list")(list_models)
    app.add_typer(group, name="models")


def add(
    source: Annotated[str, typer.Argument(help="A folder, hub:ORG/NAME[@REVISION] or package:NAME; `@sha256:HEX` checks the weights.")],
    tag: Annotated[str | None, typer.Option(help="NAME or NAME:VERSION in the store; made from the source without it.")] = None,
    as_json: Json = False,
) -> None:
    """Copy a model into the store, and print what a setting says to have it."""
    from core.settings import load_settings  # noqa: PLC0415

    _quiet()
    from services.model_store import add as add_to_store  # noqa: PLC0415

    token = load_settings().models.hub_token
    model = add_to_store(source, tag, token.get_secret_value() if token else None)
    typer.echo(_in_json(model) if as_json else model.setting)


def list_models(as_json: Json = False) -> None:
    """List the models of the store, newest first: tag, architecture, size, where it came from."""
    _quiet()
    from services.model_store import stored  # noqa: PLC0415

    for model in stored():
        line = f"bentoml:{model.tag}  {model.architecture or '-'}  {model.size / 1e6:.1f} MB  {model.source or '-'}"
        typer.echo(_in_json(model) if as_json else line)


def _in_json(model: "StoredModel") -> str:
    return json.dumps({**asdict(model), "setting": model.setting})


def _quiet() -> None:
    # BentoML reads it when it is imported.
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
