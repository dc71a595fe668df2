"""The outline of a document: where its sections, tables and code begin and end, and under which headings a character stands."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from core.schemas import Block, Document, Heading
from pipelines.ingestion.stretching import Span

_WORD = re.compile(r"[^\W_]")
_BLOCK_BORDER = 10
"""Weaker than any level of a heading."""


class _Section(NamedTuple):
    """A heading, those of its first subsections right below it, and `body`, where its text begins. `level` is that of the first heading."""

    start: int
    level: int
    body: int


class Outline:
    """Answers where a document may be cut. Empty for a document without headings and blocks.

    A block with headings inside is one only where `fits` says that a chunk can hold it: layout tables are no tables.
    """

    def __init__(self, document: Document, fits: Callable[[str], bool]) -> None:
        self._text = document.text
        self._starts = [heading.start for heading in document.headings]
        self._paths = list(_paths(document.headings))
        self._blocks = [block for block in document.blocks if self._is_whole(block, fits)]
        self._block_starts = [block.start for block in self._blocks]
        self._sections = self._find_sections(document.headings)
        self._section_starts = [section.start for section in self._sections]
        self._borders = sorted(self._find_borders())
        self._offsets = [offset for offset, _ in self._borders]

    def path_at(self, offset: int) -> tuple[str, ...]:
        """The headings above the character at `offset`, highest first; a heading's own characters stand under it."""
        index = bisect_right(self._starts, offset)
        return self._paths[index - 1] if index else ()

    def body_of(self, start: int) -> int:
        """Where the text under the headings at `start` begins; `start` itself where no heading stands."""
        index = bisect_right(self._section_starts, start) - 1
        return max(start, self._sections[index].body) if index >= 0 else start

    def block_around(self, span: Span) -> Span | None:
        """The table or piece of code that all of `span` is part of."""
        index = bisect_right(self._block_starts, span[0]) - 1
        if index < 0 or span[1] > self._blocks[index].end:
            return None
        return self._blocks[index].start, self._blocks[index].end

    def parts(self, span: Span) -> tuple[list[Span], bool]:
        """`span` cut at its strongest borders, and whether these are borders of sections. One part where there is no border inside."""
        inner = self._borders[bisect_right(self._offsets, span[0]) : bisect_left(self._offsets, span[1])]
        strongest = min((strength for _, strength in inner), default=_BLOCK_BORDER)
        cuts = [offset for offset, strength in inner if strength == strongest]
        return list(pairwise([span[0], *cuts, span[1]])), strongest < _BLOCK_BORDER

    def _is_whole(self, block: Block, fits: Callable[[str], bool]) -> bool:
        inside = bisect_left(self._starts, block.start) < bisect_left(self._starts, block.end)
        return block.end > block.start and (not inside or fits(self._text[block.start : block.end]))

    def _find_sections(self, headings: Sequence[Heading]) -> list[_Section]:
        """The sections that begin outside of blocks. A heading with nothing under it but a lower heading is one with it."""
        outside = [heading for heading in headings if not self.block_around((heading.start, heading.start + 1))]
        ends = [*(heading.start for heading in outside), len(self._text)][1:]
        found: list[_Section] = []
        above = 0
        for heading, end in zip(outside, ends, strict=True):
            body = self._body(heading.start, end)
            if found and found[-1].body == heading.start and heading.level > above:
                found[-1] = found[-1]._replace(body=body)
            else:
                found.append(_Section(heading.start, heading.level, body))
            above = heading.level
        return found

    def _body(self, start: int, end: int) -> int:
        """Where the text under the heading at `start` begins: the line of the first word, or the first block; `end` where it has none."""
        index = bisect_right(self._block_starts, start)
        block = min(end, self._block_starts[index]) if index < len(self._block_starts) else end
        line_end = self._text.find("\n", start, block)
        word = _WORD.search(self._text, line_end, block) if line_end >= 0 else None
        return self._text.rfind("\n", line_end, word.start()) + 1 if word else block

    def _find_borders(self) -> set[tuple[int, int]]:
        """Offsets and strengths, 1 the strongest. A block right under a heading begins none: they are cut apart by whoever knows their sizes."""
        bodies = {section.body for section in self._sections}
        blocks = {offset for block in self._blocks for offset in (block.start, block.end)} - bodies - set(self._section_starts)
        return {(section.start, section.level) for section in self._sections} | {(offset, _BLOCK_BORDER) for offset in blocks}


def _paths(headings: Sequence[Heading]) -> Iterator[tuple[str, ...]]:
    """The path of each heading's section, the heading itself last. Headings without a text close sections, but name none."""
    above: list[Heading] = []
    for heading in headings:
        while above and above[-1].level >= heading.level:
            above.pop()
        above.append(heading)
        yield tuple(" ".join(one.text.split()) for one in above if one.text.strip())
