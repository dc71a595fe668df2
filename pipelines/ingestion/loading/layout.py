"""Lays HTML out as a browser would, by Inscriptis, so that the columns of tables stay apart; says where headings, tables and code stand."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Literal

from inscriptis import Inscriptis  # type: ignore[import-untyped]
from inscriptis.annotation import Annotation  # type: ignore[import-untyped]
from inscriptis.css_profiles import CSS_PROFILES  # type: ignore[import-untyped]
from inscriptis.model.config import ParserConfig  # type: ignore[import-untyped]
from lxml.html import HtmlElement  # type: ignore[import-untyped]

from core.schemas import MAX_TITLE_CHARS, Block, Heading
from pipelines.ingestion.normalizing import normalize

_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_KINDS: dict[str, Literal["table", "code"]] = {"table": "table", "pre": "code"}
_MARK = "data-ekiben-mark"
_IN_LIST = "-in-list"
_INDENT_CHARS = 200
_BULLET = re.compile(r"(?:[*+o-]|\d+\.)\s+")


@dataclass(frozen=True)
class Layout:
    """Normalized text, no two blank lines in a row, and what stands where in it."""

    text: str
    headings: tuple[Heading, ...] = ()
    blocks: tuple[Block, ...] = ()


def lay_out(root: HtmlElement) -> Layout:
    """The layout of a tree, which is marked on the way.

    Headings and code inside a table are left to the table, and a table that holds any of these is taken for layout, not for data.
    """
    _mark(root)
    try:
        canvas = Inscriptis(root, _config())
        text, annotations = canvas.get_text(), canvas.get_annotations()
    except RecursionError:
        # Inscriptis recurses once a level; a page nested a thousand deep has no layout worth keeping.
        text, annotations = "\n".join(part.strip() for part in root.itertext() if part.strip()), []
    return _Page(text.replace("\r", " ")).finished(annotations)


def _mark(root: HtmlElement) -> None:
    for element in root.iter():
        element.attrib.pop(_MARK, None)
    for element in root.iter(*_HEADINGS, *_KINDS):
        if next(element.iterancestors("table", "pre"), None) is None and next(element.iterdescendants(*_HEADINGS, *_KINDS), None) is None:
            in_list = element.tag in _HEADINGS and next(element.iterancestors("li"), None) is not None
            element.set(_MARK, element.tag + _IN_LIST * in_list)
    for paragraph in root.xpath(f"//table[@{_MARK}]//p"):
        # Its margins would part the rows of the table; Word makes one of each cell.
        paragraph.tag = "div"


@cache
def _config() -> ParserConfig:
    # The strict profile doesn't indent <div>: the text is prose to be quoted, not a page to look at.
    marks = [*_HEADINGS, *(tag + _IN_LIST for tag in _HEADINGS), *_KINDS]
    rules = {f"#{_MARK}={mark}": [mark] for mark in marks}
    return ParserConfig(css=CSS_PROFILES["strict"], annotation_rules=rules)


class _Page:
    """A laid out text and its tidy form, line by line: all that is looked for begins and ends with a line."""

    def __init__(self, raw: str) -> None:
        lines = raw.split("\n")
        self._raw = raw
        self._raw_starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
        self._starts: list[int] = []
        self._kept: list[str] = []
        self._tidy(lines)
        self._text = "\n".join(self._kept)

    def finished(self, annotations: Iterable[Annotation]) -> Layout:
        """The tidy text with the annotated headings and blocks that are found in it."""
        spans = sorted((start, end, note) for start, end, note in map(self._trimmed, annotations) if start < end)
        headings = [self._heading(start, end, note) for start, end, note in spans if note not in _KINDS]
        blocks = [self._block(start, end, note) for start, end, note in spans if note in _KINDS]
        return Layout(self._text, tuple(heading for heading in headings if heading), tuple(_apart(blocks)))

    def _tidy(self, lines: Iterable[str]) -> None:
        length = 0
        for line in lines:
            tidy = normalize(line).rstrip() if self._kept else normalize(line).strip()
            self._starts.append(length)
            if tidy or (self._kept and self._kept[-1]):
                self._kept.append(tidy)
                length += len(tidy) + 1
        if self._kept and not self._kept[-1]:
            self._kept.pop()

    def _trimmed(self, annotation: Annotation) -> tuple[int, int, str]:
        span = self._raw[annotation.start : annotation.end]
        start = annotation.start + len(span) - len(span.lstrip())
        return start, start + len(span.strip()), annotation.metadata

    def _heading(self, start: int, end: int, note: str) -> Heading | None:
        text = " ".join(normalize(self._raw[start:end]).split())
        place = self._starts[self._line_at(start)]
        line = " ".join(self._text[place : place + 2 * (end - start) + _INDENT_CHARS].split())
        if note.endswith(_IN_LIST):
            text = _BULLET.sub("", text, count=1)
            line = _BULLET.sub("", line, count=1)
        # A style can put a heading into the middle of a line.
        if not text or not line.startswith(text[:MAX_TITLE_CHARS]):
            return None
        return Heading(start=place, level=int(note[1]), text=text[:MAX_TITLE_CHARS].rstrip())

    def _block(self, start: int, end: int, note: str) -> Block:
        last = self._line_at(end - 1)
        after = self._starts[last + 1] if last + 1 < len(self._starts) else len(self._text) + 1
        first = self._starts[self._line_at(start)]
        return Block(start=first, end=min(after - 1, len(self._text)), kind=_KINDS[note])

    def _line_at(self, offset: int) -> int:
        return bisect_right(self._raw_starts, offset) - 1


def _apart(blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks without those that begin in another or hold nothing."""
    end = -1
    for block in blocks:
        if block.start > end and block.start < block.end:
            yield block
            end = block.end
