"""PDF with a text layer."""

import io
import logging
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby

from pypdf import PdfReader
from pypdf.errors import DependencyError, DeprecationError, FileNotDecryptedError, PyPdfError

from core.errors import DocumentEmpty, DocumentEncrypted, DocumentTooLarge, DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading.reflowing import reflow
from pipelines.ingestion.loading.source import Extract, Source, check_length, finish, first_line
from pipelines.ingestion.normalizing import normalize
from pipelines.ingestion.refusing import Loaded

_PAGE_BREAK = "\n\n"
_MAX_LISTED_CHARS = 1_000
_NO_TITLES = ("", "untitled", "untitled document")

# pypdf parses as it goes, and what broken bytes trip over surfaces as whatever Python raises there. Found by fuzzing; tests go on with it.
_MALFORMED = (
    PyPdfError,
    DeprecationError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

# It reports each flaw it works around; what matters of them reaches the caller as an error.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """One document, pages parted by a blank line; its title is the file's own, else its first line.

    Where some pages have no text (pictures, a scan among them), the metadata names them: `pages_without_text`, such as "3, 7-9". Raises
    DocumentEncrypted where the empty password doesn't open it, DocumentEmpty where no page has text, DocumentTooLarge for too many pages.
    """
    try:
        extract = _extract(source, limits)
    except (FileNotDecryptedError, DependencyError) as error:
        raise _locked(source) from error
    except _MALFORMED as error:
        raise DocumentUnreadable(f"{source}: not a PDF, or a damaged one ({type(error).__name__}: {error})") from error
    return [finish(source, "pdf", extract, limits)]


def _extract(source: Source, limits: IngestionSettings) -> Extract:
    reader = PdfReader(io.BytesIO(source.content))
    if reader.is_encrypted and not reader.decrypt(""):
        raise _locked(source)
    pages = len(reader.pages)
    if pages > limits.max_pdf_pages:
        raise DocumentTooLarge(f"{source}: {pages} pages are above the limit of {limits.max_pdf_pages} (ingestion.max_pdf_pages)")
    texts, starts = _read_pages(reader, source, limits)
    text = _PAGE_BREAK.join(texts)
    if not text.strip():
        raise DocumentEmpty(f"{source}: no text on any of its {pages} pages (a scan? run OCR first)")
    return Extract(_title(reader) or first_line(text), text, starts, metadata=_note(texts))


def _read_pages(reader: PdfReader, source: Source, limits: IngestionSettings) -> tuple[list[str], tuple[int, ...]]:
    texts: list[str] = []
    starts: list[int] = []
    length = 0
    for page in reader.pages:
        starts.append(length)
        texts.append(reflow(normalize(page.extract_text())))
        length += len(texts[-1]) + len(_PAGE_BREAK)
        check_length(str(source), length - len(_PAGE_BREAK), limits)
    return texts, tuple(starts)


def _note(texts: Sequence[str]) -> dict[str, str]:
    blank = ", ".join(_blank_pages(texts))
    return {"pages_without_text": blank[:_MAX_LISTED_CHARS]} if blank else {}


def _blank_pages(texts: Sequence[str]) -> Iterator[str]:
    first = 1
    for is_blank, run in groupby(not text.strip() for text in texts):
        last = first + len(list(run)) - 1
        if is_blank:
            yield f"{first}-{last}" if first < last else str(first)
        first = last + 1


def _title(reader: PdfReader) -> str:
    title = normalize((reader.metadata.title if reader.metadata else None) or "").strip()
    return "" if title.lower() in _NO_TITLES else title


def _locked(source: Source) -> DocumentEncrypted:
    return DocumentEncrypted(f"{source}: encrypted and can't be opened without a password; save it without encryption first")
