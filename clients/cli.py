"""The command line, `ekiben`. Results go to stdout, progress and errors to stderr."""

import json
import os
import sys
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from clients.http_client import EkibenClient
    from core.errors import EkibenError

URL_VARIABLE = "EKIBEN_URL"


class ExitCode(IntEnum):
    """What the command's exit status says."""

    OK = 0
    """done"""
    SOME_FAILED = 1
    """some documents failed; the rest was stored"""
    USAGE = 2
    """the command line is wrong"""
    UNREACHABLE = 3
    """nothing answers at the URL"""
    REFUSED = 4
    """the request was refused (4xx)"""
    SERVER_ERROR = 5
    """the server failed or was not available in time (5xx)"""
    STARTUP = 6
    """the server can't start: settings, address, store or model"""
    INTERRUPTED = 130
    """stopped with Ctrl-C"""


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
documents_app = typer.Typer(no_args_is_help=True, help="List, show and delete documents.")
app.add_typer(documents_app, name="documents")

Url = Annotated[str, typer.Option("--url", envvar=URL_VARIABLE, help="The gateway.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Collection = Annotated[str, typer.Option("--collection", help="Collection of the documents.")]
Collections = Annotated[list[str], typer.Option("--collection", help="Collection to look in; may be repeated.")]
TopK = Annotated[int, typer.Option("--top-k", "-k", min=1, max=100, help="Passages to find.")]
Mode = Annotated[str, typer.Option("--mode", help="dense, lexical or hybrid.")]
Filters = Annotated[list[str] | None, typer.Option("--filter", help="KEY=VALUE that the metadata must hold; may be repeated.")]

_DEFAULT_URL = "http://127.0.0.1:3000"
_DEFAULT_COLLECTION = "default"


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


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="TCP port.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder that holds all state.")] = None,
    config: Annotated[str | None, typer.Option(help="Settings file, or the name of one in configs/.")] = None,
) -> None:
    """Start the four services."""
    from clients.serving import serve as run  # noqa: PLC0415

    _use_config(config)
    run(_flags(gateway={"host": host, "port": port}, retriever={"data_dir": data}))


@app.command()
def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 3000,
    data: Annotated[Path, typer.Option(help="Folder that holds all state.")] = Path(".ekiben/demo"),
) -> None:
    """Start the services with the sample documents and ask a question; stays up until Ctrl-C."""
    from clients.demo import demo as run  # noqa: PLC0415

    sys.exit(run(host, port, data))


@app.command()
def ingest(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or - for standard input.")],
    url: Url = _DEFAULT_URL,
    collection: Collection = _DEFAULT_COLLECTION,
    name: Annotated[str, typer.Option(help="File name of what comes on standard input; its suffix tells the format.")] = "stdin.txt",
    workers: Annotated[int, typer.Option(min=1, help="Processes that parse files.")] = min(4, os.cpu_count() or 1),
    as_json: Json = False,
) -> None:
    """Store documents. What is stored already is left alone, so that a second run does nothing twice."""
    from clients.ingest_command import ingest_paths  # noqa: PLC0415

    failed = ingest_paths(paths, _client(url), collection, name, workers, as_json)
    sys.exit(ExitCode.SOME_FAILED if failed else ExitCode.OK)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question; - reads it from standard input.")],
    url: Url = _DEFAULT_URL,
    top_k: TopK = 5,
    mode: Mode = "hybrid",
    collection: Collections = [_DEFAULT_COLLECTION],  # noqa: B006 - typer copies it
    filters: Filters = None,
    debug: Annotated[bool, typer.Option("--debug", help="Add what went into the answer.")] = False,
    as_json: Json = False,
) -> None:
    """Ask a question; the answer cites its sources."""
    from clients.rendering import render_answer  # noqa: PLC0415
    from core.schemas import AnswerRequest  # noqa: PLC0415

    text = sys.stdin.read() if question == "-" else question
    request = _request(AnswerRequest, question=text, top_k=top_k, mode=mode, collections=collection, filters=_parse_filters(filters), debug=debug)
    with _client(url) as client:
        answer = client.answer(request)
    typer.echo(answer.model_dump_json(indent=2) if as_json else render_answer(answer))


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    url: Url = _DEFAULT_URL,
    top_k: TopK = 5,
    mode: Mode = "hybrid",
    collection: Collections = [_DEFAULT_COLLECTION],  # noqa: B006 - typer copies it
    filters: Filters = None,
    as_json: Json = False,
) -> None:
    """Find passages."""
    from clients.rendering import render_passages  # noqa: PLC0415
    from core.schemas import SearchRequest  # noqa: PLC0415

    request = _request(SearchRequest, query=query, top_k=top_k, mode=mode, collections=collection, filters=_parse_filters(filters))
    with _client(url) as client:
        response = client.search(request)
    typer.echo(response.model_dump_json(indent=2) if as_json else render_passages(response.passages))


@documents_app.command("list")
def documents_list(
    url: Url = _DEFAULT_URL,
    collection: Annotated[str | None, typer.Option("--collection", help="Only this collection.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many; all without it.")] = None,
    as_json: Json = False,
) -> None:
    """List the documents, by collection and id."""
    from clients.rendering import render_document_row  # noqa: PLC0415

    with _client(url) as client:
        for count, document in enumerate(client.all_documents(collection)):
            if limit is not None and count >= limit:
                break
            typer.echo(document.model_dump_json() if as_json else render_document_row(document))


@documents_app.command("get")
def documents_get(document_id: str, url: Url = _DEFAULT_URL, collection: Collection = _DEFAULT_COLLECTION, as_json: Json = False) -> None:
    """Print a document's text, or all of it as JSON."""
    with _client(url) as client:
        document = client.get(document_id, collection)
    typer.echo(document.model_dump_json(indent=2) if as_json else document.text)


@documents_app.command("delete")
def documents_delete(document_ids: list[str], url: Url = _DEFAULT_URL, collection: Collection = _DEFAULT_COLLECTION, as_json: Json = False) -> None:
    """Delete documents."""
    with _client(url) as client:
        for document_id in document_ids:
            receipt = client.delete(document_id, collection)
            typer.echo(receipt.model_dump_json() if as_json else f"deleted {receipt.id} ({receipt.chunks} chunks)")


@app.command()
def status(url: Url = _DEFAULT_URL, as_json: Json = False) -> None:
    """Show the state of all parts; exit status 5 where one is not ready."""
    from clients.rendering import render_status  # noqa: PLC0415

    with _client(url) as client:
        state = client.status()
    typer.echo(state.model_dump_json(indent=2) if as_json else render_status(state))
    sys.exit(ExitCode.OK if state.ready else ExitCode.SERVER_ERROR)


@app.command()
def config(
    file: Annotated[str | None, typer.Option("--config", help="Settings file, or the name of one in configs/.")] = None, as_json: Json = False
) -> None:
    """Print every setting in force and where it comes from; secrets masked."""
    from core.settings import load_settings, provenance  # noqa: PLC0415

    _use_config(file)
    rows = list(provenance(load_settings()))
    if as_json:
        typer.echo(json.dumps([{"key": key, "value": value, "source": source} for key, value, source in rows], indent=2))
        return
    width = max(len(key) for key, _, _ in rows)
    for key, value, source in rows:
        typer.echo(f"{key:<{width}}  {json.dumps(value)}  ({source})")


def _client(url: str) -> "EkibenClient":
    from clients.http_client import EkibenClient  # noqa: PLC0415

    return EkibenClient(url)


def _use_config(name: str | None) -> None:
    from core.settings import CONFIG_VARIABLE  # noqa: PLC0415

    if name:
        os.environ[CONFIG_VARIABLE] = str(Path(name).resolve()) if Path(name).is_file() else name


def _flags(**sections: dict[str, Any]) -> dict[str, dict[str, object]]:
    given = {section: {key: value for key, value in values.items() if value is not None} for section, values in sections.items()}
    return {section: values for section, values in given.items() if values}


def _request(model: type[Any], **fields: object) -> Any:
    from pydantic import ValidationError  # noqa: PLC0415

    try:
        return model(**fields)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_input=False, include_url=False))
        raise typer.BadParameter(faults) from error


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


def _fail(error: "EkibenError") -> NoReturn:
    from clients.http_client import Unreachable  # noqa: PLC0415
    from core.errors import StartupError  # noqa: PLC0415

    typer.echo(f"ekiben: {error.message}", err=True)
    if isinstance(error, StartupError):
        sys.exit(ExitCode.STARTUP)
    if isinstance(error, Unreachable):
        sys.exit(ExitCode.UNREACHABLE)
    refused = error.status is not None and error.status < 500  # noqa: PLR2004
    sys.exit(ExitCode.REFUSED if refused else ExitCode.SERVER_ERROR)
