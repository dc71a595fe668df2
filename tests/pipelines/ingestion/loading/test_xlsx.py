import datetime

import pytest

from core.errors import DocumentEmpty, DocumentTooLarge, DocumentUnreadable
from core.schemas import Document
from pipelines.ingestion.loading import load_bytes
from tests.pipelines.ingestion.loading import making

SHEET = "xl/worksheets/sheet1.xml"


def load(content: bytes, limits) -> Document:
    [document] = load_bytes("train-lines.xlsx", content, id="x", limits=limits)
    assert isinstance(document, Document)
    return document


def sheet(*rows: str) -> bytes:
    content = making.unzipped(making.workbook(Lines=[["x"]]))
    head = content[SHEET].split(b"<sheetData>")[0]
    return making.zipped({**content, SHEET: head + b"<sheetData>" + "".join(rows).encode() + b"</sheetData></worksheet>"})


def row(number: int, column: str = "A") -> str:
    return f'<row r="{number}"><c r="{column}{number}"><v>{number}</v></c></row>'


def test_each_sheet_is_a_heading_and_a_table(limits):
    document = load(making.workbook(), limits)
    assert document.text == "Lines\n\nLine | km\nHakone | 15\n\nMore\n\nx"
    assert [(heading.start, heading.level, heading.text) for heading in document.headings] == [(0, 1, "Lines"), (30, 1, "More")]
    assert [document.text[block.start : block.end] for block in document.blocks] == ["Line | km\nHakone | 15", "x"]
    assert document.title == "train lines"
    assert document.metadata == {"source": "train-lines.xlsx", "format": "xlsx"}


def test_values_are_shown_as_people_write_them(limits):
    values = [1872, 29.0, 0.5, True, datetime.date(1872, 10, 14), datetime.datetime(1872, 10, 14, 9, 30), "two\nlines", "=1+1", "last"]
    document = load(making.workbook(Lines=[values]), limits)
    assert document.text == "Lines\n\n1872 | 29 | 0.5 | TRUE | 1872-10-14 | 1872-10-14 09:30:00 | two lines | last"


def test_empty_rows_and_columns_are_left_out_and_empty_cells_kept(limits):
    document = load(making.workbook(Lines=[[None, "a", None, "b"], [], [None, None, None, "c"]]), limits)
    assert document.text == "Lines\n\na | b\n | c"


def test_the_size_that_a_sheet_claims_is_not_believed(limits):
    content = making.patched(making.workbook(Lines=[["a"]]), SHEET, b'<dimension ref="A1:A1"', b'<dimension ref="A1:XFD1048576"')
    assert load(content, limits).text == "Lines\n\na"


def test_a_cell_far_away_costs_no_lines(limits):
    assert load(sheet(row(1), row(70_000, "XFD")), limits).text == "Lines\n\n1\n | 70000"


def test_more_rows_than_excel_has_are_unreadable(limits):
    with pytest.raises(DocumentUnreadable, match="1048576 rows"):
        load(sheet(row(1), row(10**9)), limits)


def test_a_workbook_without_values_is_empty(limits):
    with pytest.raises(DocumentEmpty):
        load(making.workbook(Lines=[[]]), limits)


def test_too_long_a_text_is_refused_as_soon_as_it_is(limits):
    with pytest.raises(DocumentTooLarge, match=r"ingestion\.max_text_chars"):
        load(making.workbook(Lines=[["x" * 30_000]] * 20), limits)


def test_what_openpyxl_prints_reaches_nobody(limits, capfd):
    content = making.patched(making.workbook(), "xl/styles.xml", b'xfId="0"', b'xfId="7"')
    with pytest.raises(DocumentUnreadable):
        load(content, limits)
    assert capfd.readouterr() == ("", "")
