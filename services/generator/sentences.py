"""Sentences of a text, with their offsets."""

from typing import NamedTuple

import sentencex

# Headings, table cells and list marks are no sentences; a real one has at least this many letters or digits.
_MIN_ALPHANUMERIC = 12


class Extent(NamedTuple):
    """A sentence and where it stands: `text == source[start:end]`."""

    start: int
    end: int
    text: str


def split_sentences(text: str, language: str = "en") -> list[Extent]:
    """The sentences of `text` in order, without surrounding white space. Where nothing looks like a sentence, the whole text is one."""
    extents = []
    for boundary in sentencex.get_sentence_boundaries(language, text):
        extents += _lines_of_prose(text, boundary["start_index"], boundary["end_index"])
    return extents or [_trimmed(text, 0, len(text))]


def _lines_of_prose(text: str, start: int, end: int) -> list[Extent]:
    """What is left of a sentence without the headings above it: these stand on lines of their own, parted by an empty line or a `#`."""
    extents = []
    position = start
    for block in text[start:end].split("\n\n"):
        extent = _trimmed(text, position, position + len(block))
        is_heading = extent.text.startswith("#") and "\n" not in extent.text
        if not is_heading and sum(map(str.isalnum, extent.text)) >= _MIN_ALPHANUMERIC:
            extents.append(extent)
        position += len(block) + 2
    return extents


def _trimmed(text: str, start: int, end: int) -> Extent:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    piece = piece.strip()
    return Extent(start, start + len(piece), piece)
