"""Sentences of a text, with their offsets."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import sentencex

from core.schemas import Span

# Table cells and list marks are no sentences; a real one has at least this many letters or digits.
_MIN_ALPHANUMERIC = 12
# An ideograph or syllable of East Asian scripts, which begin about here, says as much as three letters.
_EAST_ASIAN = "\u2e80"
_LETTERS_PER_EAST_ASIAN = 3
_SIGNS_AT_END = re.compile(r"[\W_]*\Z")
_MAX_CONTEXT = 2
# First words that speak of something named before.
_REFERS_BACK = re.compile(
    r"(?:he|she|it|they|this|these|those|his|her|its|their|such|both|however|therefore|thus|hence|moreover|furthermore|instead|then|but|and|so|also|"
    r"afterwards|meanwhile|as a result|for (?:example|instance)|in (?:addition|contrast)|the (?:former|latter))\b",
    re.IGNORECASE,
)
# What parts a heading from the sentence below it: an empty line, or that it is marked as one.
_BREAK = re.compile(r"\n\n|^#{1,6} .*$", re.MULTILINE)


class Extent(NamedTuple):
    """A sentence and where it stands: `text == source[start:end]`."""

    start: int
    end: int
    text: str


def split_sentences(text: str, language: str = "en") -> list[Extent]:
    """The sentences of `text` in order, without surrounding white space and headings.

    Where nothing looks like a sentence, the whole text is one; a blank text has none.
    """
    found = [
        extent
        for boundary in sentencex.get_sentence_boundaries(language, text)
        for extent in _without_headings(text, boundary["start_index"], boundary["end_index"])
        if _weight(extent.text) >= _MIN_ALPHANUMERIC
    ]
    whole = _trimmed(text, 0, len(text))
    return found or ([whole] if whole.text else [])


def context_start(extents: Sequence[Extent], index: int) -> int | None:
    """Where the sentences begin, at most two, that sentence number `index` refers back to; None where its first word tells of none.

    English only: in other languages quotes come without context.
    """
    first = index
    while first and index - first < _MAX_CONTEXT and _REFERS_BACK.match(extents[first].text):
        first -= 1
    return extents[first].start if first < index else None


def quote(passage: Span, extents: Sequence[Extent], index: int) -> Span:
    """The span of sentence number `index` of a passage, with its context."""
    extent, context = extents[index], context_start(extents, index)
    place = {"start": passage.start + extent.start, "end": passage.start + extent.end, "quote": extent.text}
    return passage.model_copy(update={**place, "context_start": None if context is None else passage.start + context})


def sentence_ends(text: str, following: str, *, short: bool = False) -> bool:
    """Whether a sentence ends with `text` and another begins in `following`, the next word with the white space before it.

    What is too short for a sentence goes on, unless it may be `short`. For text that is still being written: no later word changes the answer.
    """
    if _weight(text) < (1 if short else _MIN_ALPHANUMERIC) or not _weight(following):
        return False
    signs = _SIGNS_AT_END.search(text)
    word_ends = signs.start() if signs else len(text)
    begins = len(text) + len(following) - len(following.lstrip())
    found = sentencex.get_sentence_boundaries("en", text + following)
    return any(word_ends < boundary["start_index"] <= begins for boundary in found)


def _without_headings(text: str, start: int, end: int) -> Iterator[Extent]:
    """What is left of a sentence without the headings above it."""
    position = start
    for mark in _BREAK.finditer(text, start, end):
        yield _trimmed(text, position, mark.start())
        position = mark.end()
    yield _trimmed(text, position, end)


def _weight(text: str) -> int:
    return sum(_LETTERS_PER_EAST_ASIAN if character >= _EAST_ASIAN else 1 for character in text if character.isalnum())


def _trimmed(text: str, start: int, end: int) -> Extent:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    piece = piece.strip()
    return Extent(start, start + len(piece), piece)
