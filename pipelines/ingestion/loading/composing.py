"""Joins the parts of a document and notes where its pages, headings and tables stand."""

from collections.abc import Iterable, Mapping, Sequence

from core.schemas import MAX_TITLE_CHARS, Block, Heading
from core.settings import IngestionSettings
from pipelines.ingestion.loading.source import Extract, Source, check_length
from pipelines.ingestion.normalizing import normalize

_GAP = "\n\n"
_CELL_BORDER = " | "


class Composition:
    """A text that grows part by part, parted by blank lines; blank parts are left out.

    Every method that adds raises DocumentTooLarge as soon as the text is longer than the limit.
    """

    def __init__(self, source: Source, limits: IngestionSettings) -> None:
        self._source = source
        self._limits = limits
        self._parts: list[str] = []
        self._length = 0
        self._page_starts: list[int] = []
        self._headings: list[Heading] = []
        self._blocks: list[Block] = []

    def begin_page(self) -> None:
        """Let what is added next begin a page."""
        self._page_starts.append(self._next)

    def add_heading(self, level: int, text: str) -> None:
        """Add a heading on one line."""
        line = " ".join(normalize(text).split())
        start = self._next
        if self._add(line):
            self._headings.append(Heading(start=start, level=level, text=line[:MAX_TITLE_CHARS].rstrip()))

    def add_text(self, text: str) -> None:
        """Add running text."""
        self._add(normalize(text).strip())

    def add_table(self, rows: Iterable[Sequence[str]]) -> None:
        """Add a table: a line a row, its cells parted by " | ". Blank rows, and blank cells at a row's end, are left out."""
        lines: list[str] = []
        length = self._next
        for line in filter(None, map(_join_cells, rows)):
            lines.append(line)
            length += len(line)
            check_length(str(self._source), length, self._limits)
        start = self._next
        if self._add("\n".join(lines)):
            self._blocks.append(Block(start=start, end=self._length, kind="table"))

    def add_extract(self, extract: Extract) -> None:
        """Add a text with its headings and blocks; its title and pages are not taken over."""
        shift = self._next
        if self._add(extract.text):
            self._headings += [heading.model_copy(update={"start": heading.start + shift}) for heading in extract.headings]
            self._blocks += [block.model_copy(update={"start": block.start + shift, "end": block.end + shift}) for block in extract.blocks]

    def finished(self, title: str, metadata: Mapping[str, str] | None = None) -> Extract:
        """All parts as one text."""
        return Extract(
            title,
            _GAP.join(self._parts),
            page_starts=tuple(min(start, self._length) for start in self._page_starts),
            headings=tuple(self._headings),
            blocks=tuple(self._blocks),
            metadata=metadata or {},
        )

    @property
    def headings(self) -> tuple[Heading, ...]:
        """The headings so far."""
        return tuple(self._headings)

    @property
    def _next(self) -> int:
        return self._length + len(_GAP) if self._parts else 0

    def _add(self, part: str) -> bool:
        if not part.strip():
            return False
        length = self._next + len(part)
        check_length(str(self._source), length, self._limits)
        self._parts.append(part)
        self._length = length
        return True


def _join_cells(cells: Sequence[str]) -> str:
    last = max((place for place, cell in enumerate(cells) if cell.strip()), default=-1)
    return _CELL_BORDER.join(" ".join(normalize(cell).split()) for cell in cells[: last + 1])
