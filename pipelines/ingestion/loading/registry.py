"""Which loader reads which files."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol, cast

from core.errors import DocumentEmpty, DocumentTooLarge, UnsupportedFormat
from core.schemas import FieldMap
from core.settings import IngestionSettings
from pipelines.ingestion.loading.files import read_regular_file
from pipelines.ingestion.loading.source import Budget, Source, printable
from pipelines.ingestion.refusing import Loaded

Kept = Literal["headings", "tables", "code", "pages"]


@dataclass(frozen=True)
class Format:
    """What is known of a format; `docs.generate` makes the README's table of it.

    `module` is named, not imported: the parsers together take a second to load, and most runs need one or none.
    """

    name: str
    module: str
    suffixes: tuple[str, ...]
    keeps: tuple[Kept, ...]
    note: str


FORMATS = (
    Format("text", "text", (".txt",), (), "encoding detected"),
    Format("markdown", "markdown", (".md", ".markdown"), ("headings", "tables", "code"), "the source as it is; title from the front matter"),
    Format("html", "html", (".html", ".htm"), ("headings", "tables", "code"), "without scripts, menus, headers and footers"),
    Format("pdf", "pdf", (".pdf",), ("pages",), "the text layer; pages without one are named in `pages_without_text`"),
    Format("docx", "docx", (".docx",), ("headings", "tables"), "footnotes and endnotes; not headers, footers and comments"),
    Format("pptx", "pptx", (".pptx",), ("headings", "tables", "pages"), "a slide is a page; speaker's notes; not text in pictures and diagrams"),
    Format("xlsx", "xlsx", (".xlsx",), ("headings", "tables"), "a heading and a table for each sheet; values, not formulas"),
    Format("csv", "csv", (".csv", ".tsv"), ("tables",), "one table; encoding and delimiter detected"),
    Format("epub", "epub", (".epub",), ("headings", "tables", "code"), "the chapters in reading order; no books locked by DRM"),
    Format("eml", "eml", (".eml",), (), "sender, receivers and date on top; attachments become documents named `mail/attachment`"),
    Format("jsonl", "jsonl", (".jsonl",), (), "a document a line, in the layout of BEIR or by a field map"),
    Format("json", "json", (".json",), (), "an object, or a list of objects; the same keys as JSONL"),
    Format("zip", "zip", (".zip",), (), "every file in it becomes documents named `archive/path`"),
)
"""Every format that can be loaded."""

_BY_SUFFIX = {suffix: known for known in FORMATS for suffix in known.suffixes}
_USUAL_FIELDS = FieldMap()

SUPPORTED_SUFFIXES = frozenset(_BY_SUFFIX)
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
    """The documents in a file: one named `id`, or several for formats that hold several. `name` is its name where `path` is that of a copy.

    A line of a .jsonl, an object of a .json, an attachment or a file in an archive that is no document stands in the list as a failed
    result, in its place. Raises UnsupportedFormat, DocumentTooLarge (by size before anything is read), DocumentUnreadable,
    DocumentEncrypted or DocumentEmpty for the whole file. Blocks for disk and CPU time; arguments, results and errors can be pickled.
    """
    name = name or path.name
    refuse_unsupported(name, printable(name))
    return load_source(Source(id, name, read_regular_file(path, limits.max_file_bytes), Budget.within(limits), fields), limits)


def load_bytes(
    name: str,
    content: bytes,
    *,
    id: str,  # noqa: A002
    limits: IngestionSettings,
    fields: FieldMap = _USUAL_FIELDS,
) -> list[Loaded]:
    """The documents in an uploaded file with that name; otherwise as `load_file`."""
    return load_source(Source(id, name, content, Budget.within(limits), fields), limits)


def load_source(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """The documents in a file that is in memory already, and may lie in another one; errors as in `load_file`."""
    refuse_unsupported(source.name, str(source))
    if len(source.content) > limits.max_file_bytes:
        raise DocumentTooLarge(f"{source}: {len(source.content)} bytes are above the limit of {limits.max_file_bytes} (ingestion.max_file_bytes)")
    if not source.content.strip():
        raise DocumentEmpty(f"{source}: the file is empty")
    module = import_module(f"pipelines.ingestion.loading.{_BY_SUFFIX[_suffix(source.name)].module}")
    return cast("Loader", module.load)(source, limits)


def is_supported(name: str) -> bool:
    """Whether files with that name can be loaded."""
    return _suffix(name) in SUPPORTED_SUFFIXES


def refuse_unsupported(name: str, shown: str) -> None:
    """Raise UnsupportedFormat for a name whose suffix says that it can't be loaded; the message begins with `shown`."""
    if not is_supported(name):
        suffix = _suffix(name)
        what = f"files with the suffix {printable(suffix)!r}" if suffix else "files without a suffix"
        raise UnsupportedFormat(f"{shown}: {what} can't be read; supported are {', '.join(sorted(SUPPORTED_SUFFIXES))}")


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
