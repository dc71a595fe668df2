"""Which loader reads which files."""

from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Protocol, cast

from core.errors import DocumentEmpty, DocumentTooLarge, UnsupportedFormat
from core.schemas import FieldMap
from core.settings import IngestionSettings
from pipelines.ingestion.loading.files import read_regular_file
from pipelines.ingestion.loading.source import Source, printable
from pipelines.ingestion.refusing import Loaded

# Modules are named, not imported: the parsers together take a third of a second to load, and most runs need one or none.
_MODULES = {
    ".txt": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".jsonl": "jsonl",
}

_USUAL_FIELDS = FieldMap()

SUPPORTED_SUFFIXES = frozenset(_MODULES)
"""Suffixes of the files that can be loaded, in lower case, with their dot."""


class Loader(Protocol):
    """What each format's module offers under the name `load`."""

    def __call__(self, source: Source, limits: IngestionSettings) -> list[Loaded]:
        """The documents in `source`, normalized. Raises DocumentError where it can't be read at all."""


def load_file(
    path: Path,
    *,
    id: str,  # noqa: A002 - the documents' field is called id
    limits: IngestionSettings,
    name: str | None = None,
    fields: FieldMap = _USUAL_FIELDS,
) -> list[Loaded]:
    """The documents in a file: one named `id`, or one a line for .jsonl. `name` is its name where `path` is that of a copy.

    A line of a .jsonl that is no document stands in the list as a failed result named `id:line`, in its place. Raises UnsupportedFormat,
    DocumentTooLarge (by size before anything is read), DocumentUnreadable, DocumentEncrypted or DocumentEmpty for the whole file. Blocks
    for disk and CPU time; arguments, results and errors can be pickled.
    """
    name = name or path.name
    loader = _loader_for(name)
    return _load(loader, Source(id, name, read_regular_file(path, limits.max_file_bytes), fields), limits)


def load_bytes(
    name: str,
    content: bytes,
    *,
    id: str,  # noqa: A002
    limits: IngestionSettings,
    fields: FieldMap = _USUAL_FIELDS,
) -> list[Loaded]:
    """The documents in an uploaded file with that name; otherwise as `load_file`."""
    loader = _loader_for(name)
    if len(content) > limits.max_file_bytes:
        raise DocumentTooLarge(f"{printable(name)}: {len(content)} bytes are above the limit of {limits.max_file_bytes} (ingestion.max_file_bytes)")
    return _load(loader, Source(id, name, content, fields), limits)


def _load(loader: Loader, source: Source, limits: IngestionSettings) -> list[Loaded]:
    if not source.content.strip():
        raise DocumentEmpty(f"{source}: the file is empty")
    return loader(source, limits)


def _loader_for(name: str) -> Loader:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in _MODULES:
        what = f"files with the suffix {printable(suffix)!r}" if suffix else "files without a suffix"
        raise UnsupportedFormat(f"{printable(name)}: {what} can't be read; supported are {', '.join(sorted(SUPPORTED_SUFFIXES))}")
    return cast("Loader", import_module(f"pipelines.ingestion.loading.{_MODULES[suffix]}").load)
