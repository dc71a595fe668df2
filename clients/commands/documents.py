"""`ekiben documents`."""

from itertools import islice

import typer

from clients.commands import options
from clients.commands.options import DEFAULT_COLLECTION, DEFAULT_URL, Collection, Json, Limit, OnlyCollection, Url


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(no_args_is_help=True, help="List, show and delete documents.")
    group.command("list")(list_documents)
    group.command("get")(get)
    group.command("delete")(delete)
    app.add_typer(group, name="documents")


def list_documents(url: Url = DEFAULT_URL, collection: OnlyCollection = None, limit: Limit = None, as_json: Json = False) -> None:
    """List the documents, by collection and id."""
    from clients.rendering import render_document_row  # noqa: PLC0415

    with options.open_client(url) as client:
        for document in islice(client.all_documents(collection), limit):
            typer.echo(document.model_dump_json() if as_json else render_document_row(document))


def get(document_id: str, url: Url = DEFAULT_URL, collection: Collection = DEFAULT_COLLECTION, as_json: Json = False) -> None:
    """Print a document's text, or all of it as JSON."""
    with options.open_client(url) as client:
        document = client.get(document_id, collection)
    typer.echo(document.model_dump_json(indent=2) if as_json else document.text)


def delete(document_ids: list[str], url: Url = DEFAULT_URL, collection: Collection = DEFAULT_COLLECTION, as_json: Json = False) -> None:
    """Delete documents."""
    with options.open_client(url) as client:
        for document_id in document_ids:
            receipt = client.delete(document_id, collection)
            typer.echo(receipt.model_dump_json() if as_json else f"deleted {receipt.id} ({receipt.chunks} chunks)")
