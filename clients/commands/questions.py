"""`ekiben ask` and `search`."""

import json
import sys
from typing import Annotated

import typer

from clients.commands import options
from clients.commands.options import DEFAULT_COLLECTION, DEFAULT_URL, Json, Url

Collections = Annotated[list[str], typer.Option("--collection", help="Collection to look in; may be repeated.")]
TopK = Annotated[int, typer.Option("--top-k", "-k", min=1, max=100, help="Passages to find.")]
Mode = Annotated[str, typer.Option("--mode", help="dense, lexical or hybrid.")]
NoRerank = Annotated[bool, typer.Option("--no-rerank", help="Leave the passages in the order they were found in.")]
Filters = Annotated[list[str] | None, typer.Option("--filter", help="KEY=VALUE that the metadata must hold; may be repeated.")]
Stream = Annotated[
    bool | None, typer.Option("--stream/--no-stream", help="Print the answer while it is written; without either, to a terminal. JSON comes whole.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (ask, search):
        app.command()(command)


def ask(
    question: Annotated[str, typer.Argument(help="The question; - reads it from standard input.")],
    url: Url = DEFAULT_URL,
    top_k: TopK = 5,
    mode: Mode = "hybrid",
    collection: Collections = [DEFAULT_COLLECTION],  # noqa: B006 - typer copies it
    filters: Filters = None,
    no_rerank: NoRerank = False,
    debug: Annotated[bool, typer.Option("--debug", help="Add what went into the answer.")] = False,
    stream: Stream = None,
    as_json: Json = False,
) -> None:
    """Ask a question; the answer cites its sources."""
    from clients.rendering import render_answer  # noqa: PLC0415
    from clients.typing_out import type_out  # noqa: PLC0415
    from core.schemas import AnswerRequest  # noqa: PLC0415

    text = sys.stdin.read() if question == "-" else question
    request = options.build(
        AnswerRequest,
        question=text,
        top_k=top_k,
        mode=mode,
        collections=collection,
        filters=_parse_filters(filters),
        rerank=not no_rerank,
        debug=debug,
    )
    with options.open_client(url) as client:
        if not as_json and (sys.stdout.isatty() if stream is None else stream):
            type_out(client.stream(request))
            return
        answer = client.answer(request)
    typer.echo(answer.model_dump_json(indent=2) if as_json else render_answer(answer))


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    url: Url = DEFAULT_URL,
    top_k: TopK = 5,
    mode: Mode = "hybrid",
    collection: Collections = [DEFAULT_COLLECTION],  # noqa: B006 - typer copies it
    filters: Filters = None,
    no_rerank: NoRerank = False,
    as_json: Json = False,
) -> None:
    """Find passages."""
    from clients.rendering import render_passages  # noqa: PLC0415
    from core.schemas import SearchRequest  # noqa: PLC0415

    request = options.build(
        SearchRequest, query=query, top_k=top_k, mode=mode, collections=collection, filters=_parse_filters(filters), rerank=not no_rerank
    )
    with options.open_client(url) as client:
        response = client.search(request)
    typer.echo(response.model_dump_json(indent=2) if as_json else render_passages(response.passages))


def _parse_filters(given: list[str] | None) -> dict[str, object]:
    """KEY=VALUE pairs; a value that is a JSON number, boolean, list or object is taken as such, anything else as a string."""
    filters: dict[str, object] = {}
    for pair in given or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"--filter {pair!r} is not KEY=VALUE")
        try:
            filters[key] = json.loads(value)
        except ValueError:
            filters[key] = value
    return filters
