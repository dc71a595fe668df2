"""A store for each set, with services on it and the set's documents in it."""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from clients.evaluating.corpora import paths_to_ingest
from clients.exit_codes import ExitCode
from clients.http_client import LONG_PATIENCE_S, EkibenClient
from clients.ingest_command import IngestOptions, ingest_paths
from clients.local_server import LOCALHOST, free_port, local_server, wait_until_ready
from core.errors import BadEvaluation
from core.settings import Settings, load_settings
from pipelines.evaluation.question_sets import QuestionSet

_ROOT = Path(__file__).resolve().parents[2]
# What shapes a stored document besides the settings: the code that loads and splits, embeds, and indexes the words.
_WRITERS = ("pipelines/ingestion", "services/embedder/encoder.py", "services/retriever/schema.py")
_TAIL_LINES = 20


@dataclass(frozen=True)
class Place:
    """Where a set is asked: the gateway, and the collection that holds its documents. `failed` were refused, or at least one where it is 1."""

    url: str
    collection: str
    documents: int
    failed: int


@contextmanager
def place_of(of: QuestionSet, data: Path | None, url: str | None) -> Iterator[Place]:
    """The running services at `url`, or services of its own below `data`, or in a folder that is deleted afterwards; with all documents stored.

    A store is used again where the documents, the settings of ingestion and the code that writes stores are the same. Raises BadEvaluation
    where the collection holds other documents too, or the judgements name one that there is not.
    """
    with TemporaryDirectory(prefix="ekiben-eval-") as temporary:
        if url is not None:
            yield _fill(of, url, Path(temporary))
            return
        folder = Path(temporary) if data is None else data / f"{of.name}-{_fingerprint(of)}"
        folder.mkdir(parents=True, exist_ok=True)
        with _served(folder) as own_url:
            yield _fill(of, own_url, folder / "corpus")


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://{LOCALHOST}:{port}"
    log = folder / "server.log"
    with log.open("wb") as output, local_server(LOCALHOST, port, folder / "store", output) as server:
        if not wait_until_ready(url, server):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            typer.echo("\n".join(["the services ended:", *lines[-_TAIL_LINES:]]), err=True)
            sys.exit(server.returncode or ExitCode.SERVER_ERROR)
        yield url


def _fill(of: QuestionSet, url: str, folder: Path) -> Place:
    typer.echo(f"{of.name}: ingesting", err=True)
    # The counts of documents are no result of an evaluation.
    with redirect_stdout(sys.stderr):
        is_complete = ingest_paths(
            paths_to_ingest(of, folder), EkibenClient(url, patience_s=LONG_PATIENCE_S), IngestOptions(collection=of.name, workers=2)
        )
    with EkibenClient(url) as client:
        stored = frozenset(document.id for document in client.all_documents(of.name))
    if of.document_ids and (strangers := sorted(stored - of.document_ids)):
        raise BadEvaluation(f"the collection {of.name!r} at {url} holds documents that are not of {of.folder}, such as {strangers[0]!r}")
    if not of.document_ids:
        of.refuse_unknown_documents(stored)
    return Place(url, of.name, len(stored), max(len(of.document_ids - stored), int(not is_complete)))


def shaping_settings(settings: Settings) -> dict[str, dict[str, bool | int | float | str | None]]:
    """The settings that shape results: not where services listen and keep their files, nor what they run on."""
    places = {"url", "data_dir", "device", "threads", "base_url", "api_key", "cache_dir"}
    sections = ("embedder", "retriever", "generator", "answering", "ingestion")
    return {name: getattr(settings, name).model_dump(mode="json", exclude=places) for name in sections}


def _fingerprint(of: QuestionSet) -> str:
    settings = shaping_settings(load_settings())
    encoder = {key: settings["embedder"][key] for key in ("model", "dtype")}
    total = hashlib.sha256(json.dumps([of.digest, encoder, settings["ingestion"]], sort_keys=True).encode())
    for path in sorted(path for writer in _WRITERS for path in _sources(_ROOT / writer)):
        total.update(path.read_bytes())
    return total.hexdigest()[:12]


def _sources(path: Path) -> Iterator[Path]:
    yield from path.rglob("*.py") if path.is_dir() else [path]
