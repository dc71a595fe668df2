"""The options that several commands have, and what is made of them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from clients.http_client import EkibenClient
    from core.schemas import FieldMap

URL_VARIABLE = "EKIBEN_URL"
DEFAULT_URL = "http://127.0.0.1:3000"
DEFAULT_COLLECTION = "default"

Url = Annotated[str, typer.Option("--url", envvar=URL_VARIABLE, help="The gateway.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Collection = Annotated[str, typer.Option("--collection", help="Collection of the documents.")]
OnlyCollection = Annotated[str | None, typer.Option("--collection", help="Only this collection.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many; all without it.")]
Config = Annotated[str | None, typer.Option("--config", help="Settings file, or the name of one in configs/.")]
Fields = Annotated[str | None, typer.Option("--fields", help="Keys of JSON documents: id=KEY,title=KEY,text=KEY; the usual ones without it.")]


def open_client(url: str, *, patient: bool = False) -> "EkibenClient":
    """A client; a `patient` one waits minutes for a busy or restarting server."""
    from clients.http_client import LONG_PATIENCE_S, PATIENCE_S, EkibenClient  # noqa: PLC0415

    return EkibenClient(url, patience_s=LONG_PATIENCE_S if patient else PATIENCE_S)


def use_config(name: str | None) -> None:
    """Make a settings file that of this process and of those that it starts."""
    from core.settings import CONFIG_VARIABLE  # noqa: PLC0415

    if name:
        os.environ[CONFIG_VARIABLE] = str(Path(name).resolve()) if Path(name).is_file() else name


def build(model: type[Any], **fields: object) -> Any:
    """A wire type made of options; raises BadParameter."""
    from pydantic import ValidationError  # noqa: PLC0415

    try:
        return model(**fields)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_input=False, include_url=False))
        raise typer.BadParameter(faults) from error


def parse_fields(given: str | None) -> "FieldMap":
    """`id=KEY,title=KEY,text=KEY`, each at most once; raises BadParameter."""
    from core.schemas import FieldMap  # noqa: PLC0415

    keys: dict[str, str] = {}
    for pair in given.split(",") if given is not None else ():
        field, _, key = pair.partition("=")
        if field not in FieldMap.model_fields or not key or field in keys:
            raise typer.BadParameter(f"--fields {given!r}: {pair!r} is not one of id=KEY, title=KEY and text=KEY, each at most once")
        keys[field] = key
    return FieldMap(**keys)
