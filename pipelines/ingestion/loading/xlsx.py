"""Excel workbooks: a heading and a table for each sheet."""

import datetime
import io
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from xml.etree.ElementTree import ParseError

from lxml import etree  # type: ignore[import-untyped]
from openpyxl import load_workbook  # type: ignore[import-untyped]
from openpyxl.utils.exceptions import InvalidFileException  # type: ignore[import-untyped]
from openpyxl.worksheet._read_only import ReadOnlyWorksheet  # type: ignore[import-untyped]

from core.errors import DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading.composing import Composition
from pipelines.ingestion.loading.office import clean_package, title_of
from pipelines.ingestion.loading.source import Source, check_length, finish
from pipelines.ingestion.refusing import Loaded

Row = dict[int, str]
"""The cells of a row that hold something, by column."""

_MAX_ROWS = 1_048_576

# What openpyxl raises over parts that are missing or not what they say. Found by fuzzing; tests go on with it.
_MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    InvalidFileException,
    LookupError,
    OSError,
    ParseError,
    RecursionError,
    TypeError,
    ValueError,
    etree.LxmlError,
    zipfile.BadZipFile,
)


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """One document with the values that Excel last showed, not formulas; rows and columns without any are left out.

    Its title is that of the properties, else the file's name.
    """
    package = clean_package(source, "spreadsheetml", limits)
    title = title_of(package, source)
    try:
        sheets = _read_sheets(package, source, limits)
    except _MALFORMED as error:
        raise DocumentUnreadable(f"{source}: not an Excel workbook, or a damaged one ({type(error).__name__}: {error})") from error
    composition = Composition(source, limits)
    for name, rows in sheets:
        if rows:
            composition.add_heading(1, name)
            composition.add_table(_without_empty_columns(rows))
    return [finish(source, "xlsx", composition.finished(title), limits)]


def _read_sheets(package: io.BytesIO, source: Source, limits: IngestionSettings) -> list[tuple[str, list[Row]]]:
    # openpyxl warns of what it doesn't write back, and prints styles that it doesn't find; nothing is written here.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        workbook = load_workbook(package, read_only=True, data_only=True, keep_links=False)
        return [(sheet.title, _read_rows(sheet, source, limits)) for sheet in workbook.worksheets]


def _read_rows(sheet: ReadOnlyWorksheet, source: Source, limits: IngestionSettings) -> list[Row]:
    # The size that a sheet claims may be anything.
    sheet.reset_dimensions()
    return list(_filled_rows(sheet.iter_rows(values_only=True), source, limits))


def _filled_rows(rows: Iterator[tuple[object, ...]], source: Source, limits: IngestionSettings) -> Iterator[Row]:
    chars = 0
    for number, cells in enumerate(rows, start=1):
        if number > _MAX_ROWS:
            raise DocumentUnreadable(f"{source}: a sheet claims more than {_MAX_ROWS} rows, the most that Excel can have; save it anew")
        row = {column: text for column, value in enumerate(cells) if value is not None and (text := _shown(value)).strip()}
        chars += sum(map(len, row.values()))
        check_length(str(source), chars, limits)
        if row:
            yield row


def _without_empty_columns(rows: list[Row]) -> Iterator[list[str]]:
    columns = sorted(set().union(*rows))
    for row in rows:
        yield [row.get(column, "") for column in columns]


def _shown(value: object) -> str:
    match value:
        case bool():
            return str(value).upper()
        case float() if value.is_integer():
            return str(int(value))
        case datetime.datetime() if value.time() == datetime.time():
            return value.date().isoformat()
        case datetime.datetime():
            return value.isoformat(" ")
    return str(value)
