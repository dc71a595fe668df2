"""Broken and hostile files, each with the code of the error it has to end in. Made here, so that none lies in the repository."""

import io
import zipfile
from collections.abc import Iterator

from fpdf import FPDF

from tests.pipelines.ingestion.loading import making

UNREADABLE, TOO_LARGE, EMPTY = "document_unreadable", "document_too_large", "document_empty"
ENCRYPTED, UNSUPPORTED = "document_encrypted", "unsupported_format"

_WORDS = {".docx": "word/document.xml", ".pptx": "ppt/presentation.xml", ".xlsx": "xl/workbook.xml", ".epub": "OEBPS/book.opf"}
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512)


def gallery(max_unpacked_bytes: int, max_archive_files: int) -> dict[str, tuple[bytes, str]]:
    """Name → content and code, of files that hold no document; the limits are those that the server has."""
    return {
        **dict(_plain()),
        **dict(_pdfs()),
        **dict(_office(max_unpacked_bytes, max_archive_files)),
        **dict(_json()),
    }


def _plain() -> Iterator[tuple[str, tuple[bytes, str]]]:
    noise = bytes(range(256)) * 40
    for suffix in (".txt", ".md", ".html", ".csv", ".jsonl", ".json", ".eml", ".zip", ".docx"):
        yield f"nothing{suffix}", (b"", EMPTY)
    yield "spaces.txt", (b" \n\t \r\n" * 100, EMPTY)
    yield "noise.txt", (noise, UNREADABLE)
    yield "noise.md", (noise, UNREADABLE)
    yield "markup.html", (b"<html><script>alert(1)</script></html>", EMPTY)
    yield "deep.html", (b"<div>" * 30_000 + b"text", UNREADABLE)
    yield "music.mp3", (b"ID3" + noise, UNSUPPORTED)
    yield "program.exe", (b"MZ" + noise, UNSUPPORTED)
    yield "nosuffix", (b"text", UNSUPPORTED)


def _pdfs() -> Iterator[tuple[str, tuple[bytes, str]]]:
    pdf = FPDF()
    pdf.add_page()
    scan = bytes(pdf.output())
    locked = FPDF()
    locked.set_encryption(owner_password="owner", user_password="user")
    locked.add_page()
    locked.set_font("Helvetica")
    locked.cell(text="A secret.")
    yield "scan.pdf", (scan, EMPTY)
    yield "locked.pdf", (bytes(locked.output()), ENCRYPTED)
    yield "text.pdf", (b"this is no PDF", UNREADABLE)
    yield "cut.pdf", (scan[: len(scan) // 3], UNREADABLE)


def _office(max_unpacked_bytes: int, max_archive_files: int) -> Iterator[tuple[str, tuple[bytes, str]]]:
    examples = making.examples()
    for suffix, part in _WORDS.items():
        whole = examples[suffix]
        parts = making.unzipped(whole)
        xml = parts[part]
        text = xml.decode() if isinstance(xml, bytes) else xml
        yield f"cut{suffix}", (whole[: len(whole) // 2], UNREADABLE)
        yield f"laughs{suffix}", (making.zipped({**parts, part: making.ENTITIES + text.split("?>")[-1]}), UNREADABLE)
        yield f"bomb{suffix}", (making.zipped({**parts, part: b"<a>" + b" " * max_unpacked_bytes + b"</a>"}), TOO_LARGE)
        yield f"crowd{suffix}", (making.zipped({**parts, **{f"more/{n}": b"" for n in range(max_archive_files)}}), TOO_LARGE)
        if suffix != ".epub":
            yield f"password{suffix}", (_OLD_OFFICE + "EncryptedPackage".encode("utf-16-le"), ENCRYPTED)
    yield "old.docx", (_OLD_OFFICE, UNREADABLE)
    yield "slides.docx", (examples[".pptx"], UNREADABLE)
    yield "text.xlsx", (b"a,b\n1,2\n", UNREADABLE)


def _json() -> Iterator[tuple[str, tuple[bytes, str]]]:
    yield "deep.json", (b"[" * 200_000, UNREADABLE)
    yield "cut.json", (b'{"id": "a", "text": "abc', UNREADABLE)
    yield "number.json", (b"7", UNREADABLE)


def archive(max_unpacked_bytes: int) -> bytes:
    """A ZIP file with one good member among hostile ones."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("good.txt", "The good member of a bad archive speaks of marmalade.")
        file.writestr("../../escape.txt", "escaped")
        file.writestr("/absolute.txt", "escaped")
        file.writestr("C:\\drive.txt", "escaped")
        file.writestr("movie.mp4", "moving")
        file.writestr("empty.txt", "")
    return packed.getvalue()
