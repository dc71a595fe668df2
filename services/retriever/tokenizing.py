"""Terms of a text as the full-text index cuts them: by FTS5's own tokenizer, so that no word is looked for under another name."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from services.retriever.schema import TOKENIZER

_TABLES: Final = f"""
CREATE VIRTUAL TABLE texts USING fts5(title, headings, text, content = '', tokenize = '{TOKENIZER}');
CREATE VIRTUAL TABLE found USING fts5vocab(texts, instance);
"""
_EVERY: Final = "SELECT term, doc, count(*) FROM found GROUP BY term, doc"
_IN_ORDER: Final = "SELECT term FROM found ORDER BY offset"


class Occurrence(NamedTuple):
    """A term, the chunk that holds it, and how often."""

    term: str
    chunk: int
    times: int


class Tokenizer:
    """A full-text index in memory that holds a few texts for as long as it takes to read their terms. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.executescript(_TABLES)

    def occurrences(self, rows: Sequence[tuple[int, str, str, str]]) -> Iterator[Occurrence]:
        """The terms of chunks, given as id, title, headings and text; about 0.1 ms a chunk."""
        return (Occurrence(*row) for row in self._read(rows, _EVERY))

    def terms(self, text: str) -> tuple[str, ...]:
        """The terms of a short text, in order."""
        return tuple(str(row[0]) for row in self._read([(1, "", "", text)], _IN_ORDER))

    def _read(self, rows: Sequence[tuple[int, str, str, str]], question: str) -> list[Any]:
        with self._lock:
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT INTO texts (rowid, title, headings, text) VALUES (?, ?, ?, ?)", rows)
            found = self._connection.execute(question).fetchall()
            self._connection.execute("ROLLBACK")
        return found


@lru_cache(1)
def tokenizer() -> Tokenizer:
    """The tokenizer of this process."""
    return Tokenizer()


@lru_cache(100_000)
def terms_of_word(word: str) -> tuple[str, ...]:
    """The terms of one word: one, but for rare characters about which `lexical` and the tokenizer disagree."""
    return tokenizer().terms(word)
