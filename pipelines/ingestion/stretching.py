"""Parts a text so that semantic-text-splitter, whose time grows with the square of some shapes of text, stays linear on all of them."""

import re
from collections.abc import Iterator

Span = tuple[int, int]

_MAX_BLOCK_CHARS = 200_000
_MAX_LINE_CHARS = 8_000
_MAX_BLANK_CHARS = 200
_BLANK_OR_LONG_LINE = re.compile(rf"(?P<blank>\s{{{_MAX_BLANK_CHARS},}})|[^\n]{{{_MAX_LINE_CHARS}}}")
_BLOCK_ENDS = ("\n\n", "\n", " ")
_SENTENCE_ENDS = (". ", "。", " ")


def stretches(text: str, span: Span) -> Iterator[Span]:
    """The parts of `span` to be split one by one, in order. Only whitespace is between them; ordinary text below 200,000 characters is one.

    Cuts what was measured to be slow as a whole: 200,000 ideographs on one line (30 s), 100,000 blank lines (4 s). Longer text is cut because
    the library first reads all of it without letting other threads run (0.3 s for 4 MB).
    """
    for block in _blocks(text, span):
        start, stop = block
        for match in _BLANK_OR_LONG_LINE.finditer(text, start, stop):
            if match["blank"]:
                yield start, match.start()
                start = match.end()
            else:
                cut = _last_end(_SENTENCE_ENDS, text, (match.start() + _MAX_LINE_CHARS // 2, match.end()))
                yield start, cut
                start = cut
        yield start, stop


def _blocks(text: str, span: Span) -> Iterator[Span]:
    start, stop = span
    while stop - start > _MAX_BLOCK_CHARS:
        cut = _last_end(_BLOCK_ENDS, text, (start + _MAX_BLOCK_CHARS // 2, start + _MAX_BLOCK_CHARS))
        yield start, cut
        start = cut
    yield start, stop


def _last_end(marks: tuple[str, ...], text: str, span: Span) -> int:
    """Where the last of the first mark that occurs in `span` ends; else the end of `span`."""
    for mark in marks:
        found = text.rfind(mark, *span)
        if found >= 0:
            return found + len(mark)
    return span[1]
