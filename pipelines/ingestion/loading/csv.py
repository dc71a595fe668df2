"""Tables as text: CSV and TSV."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Final, Literal

from core.errors import DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading.composing import Composition
from pipelines.ingestion.loading.encoding import decode
from pipelines.ingestion.loading.source import Source, finish
from pipelines.ingestion.refusing import Loaded

_DELIMITERS = ",;\t|"
_SAMPLE_CHARS = 20_000
_SAMPLE_ROWS = 50
_Quoting = Literal[0, 3]
_QUOTED: Final = csv.QUOTE_MINIMAL
_UNQUOTED: Final = csv.QUOTE_NONE


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """One document that is one table, header first; its title is the file's name.

    The delimiter (comma, semicolon, tab or bar) is the one that gives most rows the same number of cells.
    """
    text = decode(source.content, str(source))
    delimiter = _delimiter(text[:_SAMPLE_CHARS])
    try:
        composition = _compose(text, delimiter, _QUOTED, source, limits)
    except csv.Error:
        # A quote that never ends takes in all lines after it, until the field is longer than the csv module allows.
        composition = _compose_unquoted(text, delimiter, source, limits)
    return [finish(source, "csv", composition.finished(""), limits)]


def _compose_unquoted(text: str, delimiter: str, source: Source, limits: IngestionSettings) -> Composition:
    try:
        return _compose(text, delimiter, _UNQUOTED, source, limits)
    except csv.Error as error:
        raise DocumentUnreadable(f"{source}: not a table of cells ({error}); rename it to .txt to load it as text") from error


def _compose(text: str, delimiter: str, quoting: _Quoting, source: Source, limits: IngestionSettings) -> Composition:
    composition = Composition(source, limits)
    composition.add_table(_rows(text, delimiter, quoting))
    return composition


def _rows(text: str, delimiter: str, quoting: _Quoting = _QUOTED) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)


def _delimiter(sample: str) -> str:
    return max(_DELIMITERS, key=lambda delimiter: _evenness(sample, delimiter))


def _evenness(sample: str, delimiter: str) -> tuple[float, int]:
    """Share of the rows that have the most usual number of cells, above one; then that number."""
    try:
        widths = Counter(len(row) for row in islice(_rows(sample, delimiter), _SAMPLE_ROWS) if row)
    except csv.Error:
        return 0, 0
    wide = {width: rows for width, rows in widths.items() if width > 1}
    if not wide:
        return 0, 0
    width = max(wide, key=lambda width: (wide[width], width))
    return wide[width] / widths.total(), width
