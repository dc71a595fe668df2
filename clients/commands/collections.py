"""`ekiben collections`."""

from typing import Annotated

import typer

from clients.commands import options
from clients.commands.options import DEFAULT_URL, Json, Url

Name = Annotated[str, typer.Argument(help="Name of the collection.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(no_args_is_help=True, help="List, create and delete collections.")
    group.command("list")(list_collections)
    group.command("create")(create)
    group.command("delete")(delete)
    app.add_typer(group, name="collections")


def list_collections(url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """List the collections, by name."""
    from clients.rendering import render_collection  # noqa: PLC0415

    with options.open_client(url) as client:
        for collection in client.collections():
            typer.echo(collection.model_dump_json() if as_json else render_collection(collection))


def create(
    name: Name,
    url: Url = DEFAULT_URL,
    description: Annotated[str, typer.Option(help="What is in it.")] = "",
    chunk_tokens: Annotated[int | None, typer.Option(help="Tokens of a chunk; that of the server's settings without it.")] = None,
    overlap_tokens: Annotated[int | None, typer.Option(help="Tokens that neighbouring chunks share.")] = None,
    as_json: Json = False,
) -> None:
    """Create a collection, or give it these settings; its sizes can change only while it is empty."""
    from clients.rendering import render_collection  # noqa: PLC0415
    from core.schemas import CollectionSettings  # noqa: PLC0415

    settings = options.build(CollectionSettings, description=description, chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens)
    with options.open_client(url) as client:
        collection = client.put_collection(name, settings)
    typer.echo(collection.model_dump_json(indent=2) if as_json else render_collection(collection))


def delete(
    name: Name, url: Url = DEFAULT_URL, yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False, as_json: Json = False
) -> None:
    """Delete a collection with all its documents."""
    if not yes:
        typer.confirm(f"Delete the collection {name!r} with all its documents?", abort=True, err=True)
    with options.open_client(url) as client:
        receipt = client.delete_collection(name)
    told = f"deleted {receipt.name} ({receipt.documents} documents, {receipt.chunks} chunks)"
    typer.echo(receipt.model_dump_json() if as_json else told)
