"""`ekiben ingest`: progress on stderr, results on stdout."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from clients.http_client import EkibenClient
from clients.ingesting import STDIN, SourceFile, find_files, load_all, load_stdin, send_all
from core.errors import EkibenError
from core.schemas import DocumentResult
from core.settings import load_settings
from pipelines.ingestion.refusing import Loaded


def ingest_paths(paths: Sequence[str], client: EkibenClient, collection: str, stdin_name: str, workers: int, as_json: bool) -> int:
    """Store what `paths` hold and print what became of it; returns how many documents failed."""
    limits = load_settings().ingestion
    found = list(find_files([path for path in paths if path != STDIN]))
    files = [item for item in found if isinstance(item, SourceFile)]
    results = [item for item in found if isinstance(item, DocumentResult)]
    console = Console(stderr=True)
    with client, _progress(console) as progress:
        task = progress.add_task("ingest", total=len(files) + (STDIN in paths), documents=0)

        def loaded() -> Iterator[Loaded]:
            if STDIN in paths:
                yield from load_stdin(stdin_name, limits)
                progress.advance(task)
            for documents in load_all(files, limits, workers):
                yield from documents
                progress.advance(task)

        def report(result: DocumentResult) -> None:
            results.append(result)
            progress.update(task, documents=len(results))

        try:
            send_all(loaded(), client, collection, report)
        except EkibenError:
            # What was reported is stored: say so before the error ends the command.
            _print(results, as_json)
            raise
    return _print(results, as_json)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("loading files"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[documents]} documents"), TimeElapsedColumn())
    # Rich leaves an empty line where there is no terminal to draw on.
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _print(results: Sequence[DocumentResult], as_json: bool) -> int:
    counts = Counter(result.state for result in results)
    if as_json:
        typer.echo(json.dumps({"documents": [result.model_dump(mode="json") for result in results], "counts": counts}))
    else:
        for result in results:
            if result.error:
                typer.echo(f"failed {result.id}: {result.error.message} ({result.error.code})", err=True)
        told = ", ".join(f"{counts[state]} {state}" for state in ("created", "updated", "unchanged", "failed") if counts[state])
        typer.echo(told or "nothing to ingest")
    return counts["failed"]
