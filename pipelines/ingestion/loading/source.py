"""What every loader is given, and how every loader finishes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pydantic import ValidationError

from core.errors import DocumentEmpty, DocumentTooLarge, DocumentUnreadable
from core.schemas import MAX_TITLE_CHARS, Block, Document, FieldMap, Heading
from core.settings import IngestionSettings
from pipelines.ingestion.normalizing import normalize
from pipelines.ingestion.refusing import explain

MAX_TITLE_LINE_CHARS = 120


@dataclass
class Budget:
    """What may still be unpacked of one file. The archives inside it share the object, so it counts for all of them."""

    files: int
    bytes: int

    @classmethod
    def within(cls, limits: IngestionSettings) -> "Budget":
        """The whole budget."""
        return cls(limits.max_archive_files, limits.max_unpacked_bytes)

    def take_files(self, count: int, name: str) -> None:
        """Count the files of an archive. Raises DocumentTooLarge where they are too many."""
        if count > self.files:
            raise DocumentTooLarge(f"{name}: holds {count} files where {self.files} more are allowed (ingestion.max_archive_files); unpack it first")
        self.files -= count

    def take_bytes(self, count: int, name: str) -> None:
        """Count bytes as they are unpacked. Raises DocumentTooLarge where they are too many."""
        if count > self.bytes:
            self.bytes = 0
            raise DocumentTooLarge(f"{name}: unpacks to more than is allowed (ingestion.max_unpacked_bytes); unpack it first, or raise the limit")
        self.bytes -= count


@dataclass(frozen=True)
class Source:
    """A file in memory. As a string it is the name that messages use.

    `fields` is for formats that hold JSON; `depth` counts the archives and mails around the file.
    """

    id: str
    name: str
    content: bytes
    budget: Budget
    fields: FieldMap = field(default_factory=FieldMap)
    depth: int = 0

    def __str__(self) -> str:
        return printable(self.name)

    @property
    def readable_stem(self) -> str:
        """The file's name without suffix, `_` and `-` as spaces: the title of last resort."""
        return " ".join(printable(PurePosixPath(self.name).stem).replace("_", " ").replace("-", " ").split())


@dataclass(frozen=True)
class Extract:
    """What a format's parser found. `text` is normalized already, and the offsets are into it."""

    title: str
    text: str
    page_starts: tuple[int, ...] = ()
    headings: tuple[Heading, ...] = ()
    blocks: tuple[Block, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def finish(source: Source, format_name: str, extract: Extract, limits: IngestionSettings) -> Document:
    """The document; the file's stem stands in for a missing title.

    Raises DocumentEmpty for blank text, DocumentTooLarge for too long a text, DocumentUnreadable for an id that is none.
    """
    check_length(str(source), len(extract.text), limits)
    if not extract.text.strip():
        raise DocumentEmpty(f"{source}: holds no text")
    title = " ".join(normalize(extract.title).split()) or source.readable_stem
    try:
        return Document(
            id=source.id,
            title=title[:MAX_TITLE_CHARS].rstrip(),
            text=extract.text,
            metadata={"source": str(source), "format": format_name, **extract.metadata},
            page_starts=extract.page_starts,
            headings=extract.headings,
            blocks=extract.blocks,
        )
    except ValidationError as error:
        raise DocumentUnreadable(f"{source}: can't become a document: {explain(error)}") from error


def check_length(name: str, chars: int, limits: IngestionSettings) -> None:
    """Raise DocumentTooLarge where a text of `chars` characters is above the limit."""
    if chars > limits.max_text_chars:
        raise DocumentTooLarge(f"{name}: {chars} characters of text are above the limit of {limits.max_text_chars} (ingestion.max_text_chars)")


def first_line(text: str) -> str:
    """The first line that isn't blank, where it is short enough for a title; else nothing."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= MAX_TITLE_LINE_CHARS else ""


def printable(name: str) -> str:
    """A file name fit for messages and metadata: on POSIX it may hold line ends, controls and bytes that are no text."""
    return normalize(name).replace("\n", " ").replace("\t", " ")
