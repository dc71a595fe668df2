"""Reads what a model writes, while it writes: its sentences, and the sources that each one names."""

import re
import string
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from services.generator.markers import Break, Marker, MarkerReader, Token, Word
from services.generator.prompting import NOTHING
from services.generator.sentences import sentence_ends

_HEADING = re.compile(r"#{1,6}")
_BULLETS = frozenset("-*•–")
# Around what a reasoning model thinks before it answers.
_THINKS, _HAS_THOUGHT = "<think>", "</think>"


class ReadSentence(NamedTuple):
    """A complete sentence and the numbers of the sources that it names; none where it has no marker."""

    text: str
    numbers: tuple[int, ...]


Read = str | ReadSentence


class SentenceReader:
    """Takes a text in pieces and gives its sentences as they grow: strings of text, and each sentence when it is complete.

    The strings make up the sentences joined by one space; no sentence is taken back, and how the text was cut changes nothing. A line break ends a
    sentence. A short sentence is joined to the next unless it has a marker. A marker belongs to the text before it, at the beginning of a line to
    the text behind it. Marks of lists, headings and what a model thinks first are left out. A text that begins with the word for "says nothing" has
    no sentences. After `max_sentences` the reader is `full` and reads no more.
    """

    def __init__(self, max_sentences: int) -> None:
        self._left = max_sentences
        self._tokens = MarkerReader()
        self._first = True
        self._text = ""
        self._numbers: list[int] = []
        self._ahead: list[int] = []
        self._line_begins = True
        self._line_ended = False
        self._in_heading = False
        self._thinking = False
        self._listed = 0

    @property
    def full(self) -> bool:
        """Whether nothing more is read."""
        return self._left <= 0

    def feed(self, piece: str) -> Iterator[Read]:
        """What `piece` adds."""
        yield from self._read(self._tokens.feed(piece))

    def finish(self) -> Iterator[Read]:
        """What the end of the text adds: its last sentence."""
        yield from self._read(self._tokens.finish())
        self._numbers += self._ahead
        if not self.full:
            yield from self._complete()

    def _read(self, tokens: Iterable[Token]) -> Iterator[Read]:
        for token in tokens:
            if self.full:
                return
            if isinstance(token, Word):
                yield from self._add(token.text)
            elif isinstance(token, Marker):
                (self._ahead if self._line_ended else self._numbers).extend(token.numbers)
            elif isinstance(token, Break):
                self._end_line()

    def _end_line(self) -> None:
        # Markers on a line of their own belong to the line before.
        self._numbers += self._ahead
        self._ahead = []
        self._line_begins, self._line_ended, self._in_heading = True, bool(self._text), False

    def _add(self, word: str) -> Iterator[Read]:
        if self._thinking or (self._first and not self._text and word.strip().startswith(_THINKS)):
            word = self._after_thinking(word)
        if not word:
            return
        begins, self._line_begins = self._line_begins, False
        if self._in_heading or (begins and self._is_mark(word.strip())):
            return
        if self._first and not self._text and word.strip(string.punctuation + string.whitespace) == NOTHING:
            self._left = 0
            return
        if self._line_ended or sentence_ends(self._text, word, short=bool(self._numbers)):
            yield from self._complete()
        if not self.full:
            yield from self._grow(word)

    def _after_thinking(self, word: str) -> str:
        """What `word` holds of the answer."""
        _, thought, rest = word.rpartition(_HAS_THOUGHT)
        self._thinking = not thought
        self._line_begins, self._numbers = True, []
        return rest if thought else ""

    def _is_mark(self, word: str) -> bool:
        self._in_heading = _HEADING.fullmatch(word) is not None
        numbered = word in (f"{self._listed + 1}.", f"{self._listed + 1})")
        self._listed += numbered
        return self._in_heading or numbered or word in _BULLETS

    def _grow(self, word: str) -> Iterator[str]:
        """Signs alone are held back until a letter or digit makes them text."""
        shown = self._text if _says(self._text) else ""
        self._text = self._text + word if self._text else word.strip()
        if _says(self._text):
            yield (" " if not shown and not self._first else "") + self._text[len(shown) :]

    def _complete(self) -> Iterator[ReadSentence]:
        text, numbers = self._text, tuple(dict.fromkeys(self._numbers))
        self._text, self._numbers, self._ahead, self._line_ended = "", self._ahead, [], False
        if _says(text):
            self._first = False
            self._left -= 1
            yield ReadSentence(text, numbers)


def _says(text: str) -> bool:
    return any(map(str.isalnum, text))
