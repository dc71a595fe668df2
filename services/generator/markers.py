"""Citation markers in a text that is being written: it comes apart into words, markers and line breaks, however its pieces were cut.

A marker is one or several numbers of sources in brackets: `[1]`, `[1, 3]`, `[2-4]`, `【1】`.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_INSIDE = r"[ \d,;–-]"
_MARKER = re.compile(rf"[\[【［] ?(?P<numbers>\d(?:{_INSIDE}{{0,90}}\d)?) ?[\]】］]", re.ASCII)
# What the next piece may make a marker.
_BEGUN = re.compile(rf"[\[【［]{_INSIDE}{{0,100}}\Z", re.ASCII)
_RANGE = re.compile(r"(\d+)(?: *[-–] *(\d+))?", re.ASCII)
_MOST_IN_RANGE = 100
_SPACE = re.compile(r"\n|[^\S\n]+")
# From U+2E80 on scripts part their words by nothing: each character counts as one.
_WORD = re.compile(r"[\u2e80-\U0010ffff]|[\[]?[^\s\[\u2e80-\U0010ffff]+|\[")
_UNPARTED = "\u2e80"
# What follows a marker without a space, where the marker stood before the end of its sentence.
_CLOSING = frozenset(".,;:!?…)。、！？")


class Word(NamedTuple):
    """A word, with its signs and with the space that parts it from the word before."""

    text: str


class Marker(NamedTuple):
    """The numbers that a marker names, in order."""

    numbers: tuple[int, ...]


class Break(NamedTuple):
    """The end of a line."""


Token = Word | Marker | Break


class MarkerReader:
    """Takes a text in pieces and gives its tokens as soon as nothing that follows can change them."""

    def __init__(self) -> None:
        self._rest = ""
        self._space = ""
        self._marked = False

    def feed(self, piece: str) -> Iterator[Token]:
        """The tokens that `piece` completes."""
        self._rest += piece
        yield from self._tokens(complete=False)

    def finish(self) -> Iterator[Token]:
        """The last tokens. A marker that is not closed is left out."""
        yield from self._tokens(complete=True)

    def _tokens(self, *, complete: bool) -> Iterator[Token]:
        while self._rest:
            if space := _SPACE.match(self._rest):
                yield from self._pass_space(space[0])
            elif marker := _MARKER.match(self._rest):
                self._rest = self._rest[marker.end() :]
                self._marked = True
                yield Marker(_numbers(marker["numbers"]))
            elif _BEGUN.match(self._rest):
                self._rest = "" if complete else self._rest
                return
            elif not (word := self._word(complete=complete)):
                return
            else:
                yield Word(word)

    def _pass_space(self, space: str) -> Iterator[Break]:
        self._rest = self._rest[len(space) :]
        self._space = " "
        if space == "\n":
            self._space, self._marked = "", False
            yield Break()

    def _word(self, *, complete: bool) -> str:
        """The word that begins the rest, taken off it; empty where it may go on."""
        found = _WORD.match(self._rest)
        assert found is not None  # the rest is not empty and doesn't begin with white space
        word = found[0]
        if found.end() == len(self._rest) and word < _UNPARTED and not complete:
            return ""
        self._rest = self._rest[found.end() :]
        space, self._space, marked, self._marked = self._space, "", self._marked, False
        if marked:
            space = "" if word[0] in _CLOSING else " " if word < _UNPARTED and word[0].isalnum() else space
        return space + word


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(number for first, last in _RANGE.findall(text) for number in _span(int(first), int(last or first)))


def _span(first: int, last: int) -> range:
    return range(first, min(last, first + _MOST_IN_RANGE) + 1) if last >= first else range(first, first + 1)
