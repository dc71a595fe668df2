import inspect
import io
import logging
import random
import struct
import zlib
from datetime import UTC, datetime

import pypdf.errors
import pytest
from fpdf import FPDF
from pypdf import PdfReader, PdfWriter

from core.errors import DocumentEmpty, DocumentEncrypted, DocumentError, DocumentTooLarge, DocumentUnreadable
from core.schemas import Document
from pipelines.ingestion.loading import load_bytes, pdf

FIRST = "The air brake stops a train when the pipe loses its pressure, and that is what engineers call fail-safe."
SECOND = "A small tank under each vehicle is filled from the pipe."


def make(*pages: str, title: str = "The air brake", compress: bool = True) -> bytes:
    document = FPDF(format=(148, 210))
    document.set_compression(compress)
    document.set_creation_date(datetime(2025, 1, 1, tzinfo=UTC))
    document.set_title(title)
    document.set_font("Times", size=10)
    for page in pages:
        document.add_page()
        document.multi_cell(0, 5, page)
    return bytes(document.output())


def rewritten(content: bytes, **encryption: object) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(content)))
    writer.encrypt(**encryption)
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


def load(content: bytes, limits) -> Document:
    [document] = load_bytes("air-brake.pdf", content, id="x", limits=limits)
    assert isinstance(document, Document)
    return document


def test_pages_are_joined_and_their_starts_known(limits):
    document = load(make(FIRST, "", SECOND), limits)
    assert document.text == f"{FIRST}\n\n\n\n{SECOND}"
    assert document.page_starts == (0, len(FIRST) + 2, len(FIRST) + 4)
    assert document.text[document.page_starts[2] :] == SECOND
    assert document.metadata == {"source": "air-brake.pdf", "format": "pdf", "pages_without_text": "2"}


def test_pages_without_text_are_named(limits):
    assert load(make("", "", FIRST, "", SECOND, ""), limits).metadata["pages_without_text"] == "1-2, 4, 6"
    assert "pages_without_text" not in load(make(FIRST, SECOND), limits).metadata


@pytest.mark.parametrize(("given", "title"), [("The air brake", "The air brake"), ("", SECOND), ("Untitled", SECOND), (" \n", SECOND)])
def test_the_title_is_the_files_own_else_the_first_line(limits, given, title):
    assert load(make(SECOND, title=given), limits).title == title


def test_without_a_short_first_line_the_stem_is_the_title(limits):
    assert load(make(FIRST * 3, title=""), limits).title == "air brake"


def test_a_scan_is_empty_and_says_what_to_do(limits):
    with pytest.raises(DocumentEmpty, match=r"no text on any of its 2 pages \(a scan\? run OCR first\)"):
        load(make("", ""), limits)


def test_a_pdf_without_pages_is_empty(limits):
    target = io.BytesIO()
    PdfWriter().write(target)
    with pytest.raises(DocumentEmpty, match="0 pages"):
        load(target.getvalue(), limits)


def test_too_many_pages_are_refused(limits):
    with pytest.raises(DocumentTooLarge, match="21 pages are above the limit of 20"):
        load(make(*["page"] * 21), limits)


def test_too_long_a_text_is_refused_as_soon_as_it_is(limits):
    tight = limits.model_copy(update={"max_text_chars": len(FIRST) + 2})
    assert load(make(FIRST), tight)
    with pytest.raises(DocumentTooLarge, match="characters of text"):
        load(make(FIRST, SECOND), tight)


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_an_empty_password_is_tried(limits, algorithm):
    content = rewritten(make(SECOND), user_password="", owner_password="secret", algorithm=algorithm)
    assert load(content, limits).text == SECOND


def test_a_password_is_asked_for(limits):
    content = rewritten(make(SECOND), user_password="secret", algorithm="RC4-128")
    with pytest.raises(DocumentEncrypted, match="without a password"):
        load(content, limits)


def test_an_unknown_encryption_is_a_document_error(limits):
    content = rewritten(make(SECOND), user_password="secret", algorithm="RC4-128").replace(b"/Standard", b"/Unheard0")
    with pytest.raises((DocumentEncrypted, DocumentUnreadable)):
        load(content, limits)


def test_a_missing_cipher_means_encrypted(limits, monkeypatch):
    def decrypt(*_: object) -> None:
        raise pypdf.errors.DependencyError("cryptography>=3.1 is required for AES algorithm")

    monkeypatch.setattr(PdfReader, "decrypt", decrypt)
    content = rewritten(make(SECOND), user_password="", owner_password="secret", algorithm="RC4-128")
    with pytest.raises(DocumentEncrypted):
        load(content, limits)


@pytest.mark.parametrize(
    "content",
    [b"%PDF-1.7", b"%PDF-1.7\n%%EOF", b"just text", b"%PDF-1.4\ntrailer << /Root 1 0 R >>\nstartxref\n0\n%%EOF", b"PK\x03\x04" * 99],
    ids=["header", "header and end", "text", "no objects", "zip"],
)
def test_what_is_no_pdf_is_unreadable(limits, content):
    with pytest.raises(DocumentUnreadable, match=r"air-brake\.pdf: not a PDF"):
        load(content, limits)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_half_a_pdf_is_a_document_error(limits, share):
    whole = make(FIRST, SECOND)
    with pytest.raises((DocumentUnreadable, DocumentEmpty)):
        load(whole[: int(len(whole) * share)], limits)


def test_broken_bytes_end_in_a_document_or_its_documented_error(limits):
    """Fuzzing from a fixed seed; 2,500 more such files were tried when the loader was written."""
    dice = random.Random(42)
    whole = make(FIRST, SECOND, compress=False)
    wrong = [b"<<", b">>", b"[", b"0 0 R", b"/Kids", b"9999999999", b"-1", b"endobj", b"(", b"null", b"BT", b"/Length 5"]
    outcomes = set()
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(dice.choice([1, 3, 10, 30])):
            place = dice.randrange(len(content))
            match dice.randrange(3):
                case 0:
                    content[place] = dice.randrange(256)
                case 1:
                    del content[place : place + dice.randrange(100)]
                case _:
                    content[place:place] = dice.choice(wrong)
        try:
            outcomes.add(type(load(bytes(content), limits)))
        except DocumentError as error:
            outcomes.add(type(error))
    assert {Document, DocumentUnreadable} <= outcomes


OF_PYPDF = [cls for _, cls in inspect.getmembers(pypdf.errors, inspect.isclass) if not issubclass(cls, Warning)]
OF_PYTHON = [AssertionError, AttributeError, IndexError, KeyError, NotImplementedError, OSError, OverflowError, RecursionError, TypeError, ValueError]


@pytest.mark.parametrize("error", [*OF_PYPDF, *OF_PYTHON, struct.error, zlib.error], ids=lambda cls: cls.__name__)
def test_every_error_of_a_broken_pdf_is_translated(limits, monkeypatch, error):
    def fail(*_: object) -> None:
        raise error("from within")

    monkeypatch.setattr(pdf, "PdfReader", fail)
    with pytest.raises((DocumentUnreadable, DocumentEncrypted)) as caught:
        load(b"%PDF", limits)
    assert isinstance(caught.value.__cause__, error)


def test_pypdf_says_nothing_of_what_it_repairs(limits, capfd):
    content = make(SECOND).replace(b"startxref\n", b"startxref\n1")
    assert load(content, limits).text == SECOND
    assert capfd.readouterr() == ("", "")
    assert not logging.getLogger("pypdf._reader").isEnabledFor(logging.ERROR)
