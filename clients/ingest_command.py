"""`ekiben ingest`: progress on stderr, results on stdout."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field

import typer

from clients.http_client import EkibenClient
from clients.ingesting.comparing import Comparison
from clients.ingesting.finding import STDIN, SourceFile, find_files, holds_nothing, standard_input
from clients.ingesting.loading import load_all
from clients.ingesting.outcomes import Outcome, counted, describe_counts
from clients.ingesting.progress import RunProgress
from clients.ingesting.sending import Item, send_all
from clients.ingesting.syncing import Leftovers
from core.errors import DocumentNotFound, EkibenError
from core.schemas import DEFAULT_COLLECTION, DocumentResult, FieldMap
from core.settings import load_settings
from pipelines.ingestion.isolating import IsolatedLoader

_SHOWN_OF_A_STATE = 10


@dataclass(frozen=True)
class IngestOptions:
    """What a run is to do besides storing what the paths hold."""

    collection: str = DEFAULT_COLLECTION
    stdin_name: str = "stdin.txt"
    fields: FieldMap = field(default_factory=FieldMap)
    sync: bool = False
    dry_run: bool = False
    workers: int = 1
    as_json: bool = False


def ingest_paths(paths: Sequence[str], client: EkibenClient, options: IngestOptions) -> bool:
    """Store what `paths` hold and print what became of it. Returns whether all was done: nothing failed, and `sync` was not held back.

    Closes `client`.
    """
    run = _Run(paths, client, options)
    try:
        with client:
            run.ingest()
    except (EkibenError, KeyboardInterrupt):
        # What was reported is stored: say so before the error ends the command.
        if run.outcomes:
            _print(run.outcomes, None, options)
        raise
    _print(run.outcomes, run.held_back, options)
    return run.held_back is None and not any(outcome.state == "failed" for outcome in run.outcomes)


class _Run:
    def __init__(self, paths: Sequence[str], client: EkibenClient, options: IngestOptions) -> None:
        self._paths = paths
        self._client = client
        self._options = options
        self._limits = load_settings().ingestion
        self.outcomes: list[Outcome] = []
        self.held_back: str | None = None

    def ingest(self) -> None:
        named = [path for path in self._paths if path != STDIN]
        found = list(find_files(named))
        self.outcomes += [Outcome.of(item) for item in found if isinstance(item, DocumentResult)]
        with ExitStack() as stack:
            files = [item for item in found if isinstance(item, SourceFile)]
            if STDIN in self._paths:
                files.insert(0, stack.enter_context(standard_input(self._options.stdin_name, self._limits.max_file_bytes)))
            comparison = Comparison.with_stored(self._client.all_documents(self._options.collection) if files else ())
            leftovers = Leftovers(comparison.stored)
            for item in found:
                if isinstance(item, DocumentResult):
                    leftovers.saw_path(item)
            for path in filter(holds_nothing, named):
                leftovers.saw_empty_path(path)
            self._store(files, comparison, leftovers)
        if self._options.sync:
            self._delete(leftovers)

    def _store(self, files: Sequence[SourceFile], comparison: Comparison, leftovers: Leftovers) -> None:
        with RunProgress(len(files)) as progress, IsolatedLoader(self._limits, self._options.workers) as loader:

            def report(outcome: Outcome) -> None:
                self.outcomes.append(outcome)
                progress.finish_document(outcome.state == "failed")

            def judged() -> Iterator[Item]:
                # The loading threads are told to end before the loader is closed, which ends what they do.
                with closing(load_all(files, loader, self._options.workers, self._options.fields)) as loaded:
                    for file, documents in zip(files, loaded, strict=True):
                        leftovers.saw_file(file.id, documents)
                        yield from map(comparison.judge, documents)
                        progress.finish_file()

            if self._options.dry_run:
                send_all(judged(), lambda batch: [comparison.expect(document) for document in batch], report, self._client.give_up)
            else:
                send_all(judged(), lambda batch: self._client.add(batch, self._options.collection).documents, report, self._client.give_up)

    def _delete(self, leftovers: Leftovers) -> None:
        self.held_back = leftovers.held_back
        for document_id in leftovers.ids():
            if not self._options.dry_run:
                # Someone else may have deleted it, or the answer to our first try was lost.
                with suppress(DocumentNotFound):
                    self._client.delete(document_id, self._options.collection)
            self.outcomes.append(Outcome(id=document_id, state="deleted"))


def _print(outcomes: Sequence[Outcome], held_back: str | None, options: IngestOptions) -> None:
    counts = counted(outcomes)
    if options.as_json:
        documents = [outcome.model_dump(mode="json") for outcome in outcomes]
        kept = {"nothing_deleted": held_back} if held_back else {}
        typer.echo(json.dumps({"documents": documents, "counts": counts, "dry_run": options.dry_run, **kept}))
        return
    for outcome in outcomes:
        if outcome.error:
            typer.echo(f"failed {outcome.id}: {outcome.error.message} ({outcome.error.code})", err=True)
    if options.dry_run:
        _print_plan(outcomes)
    if held_back:
        typer.echo(f"nothing was deleted: {held_back}", err=True)
    told = describe_counts(counts)
    typer.echo(f"{told} (dry run: nothing was changed)" if told and options.dry_run else told or "nothing to ingest")


def _print_plan(outcomes: Sequence[Outcome]) -> None:
    """The first documents of each state that a run would change."""
    for state in ("created", "updated", "deleted"):
        ids = [outcome.id for outcome in outcomes if outcome.state == state]
        for document_id in ids[:_SHOWN_OF_A_STATE]:
            typer.echo(f"{state} {document_id}")
        if len(ids) > _SHOWN_OF_A_STATE:
            typer.echo(f"{state} {len(ids) - _SHOWN_OF_A_STATE} more; --json names them all")
