"""Every broken or hostile file ends in documents or in a DocumentError, whatever its format."""

import random
import struct
import zipfile

import pytest

from core.errors import DocumentEmpty, DocumentEncrypted, DocumentError, DocumentTooLarge, DocumentUnreadable
from pipelines.ingestion.loading import load_bytes
from tests.pipelines.ingestion.loading import making

EXAMPLES = making.examples()
PACKED = [".docx", ".pptx", ".xlsx", ".epub"]
MAIN_PART = {".docx": "word/document.xml", ".pptx": "ppt/presentation.xml", ".xlsx": "xl/workbook.xml", ".epub": "OEBPS/book.opf"}


def load(suffix: str, content: bytes, limits):
    return load_bytes(f"file{suffix}", content, id="x", limits=limits)


@pytest.mark.parametrize("suffix", EXAMPLES)
def test_broken_bytes_end_in_results_or_a_document_error(limits, suffix):
    """Fuzzing from a fixed seed; 4,000 more such files were tried when the loaders were written."""
    dice = random.Random(7)
    outcomes = set()
    for _ in range(25):
        try:
            outcomes.add(type(load(suffix, making.spoiled(dice, EXAMPLES[suffix]), limits)))
        except DocumentError as error:
            assert f"file{suffix}" in error.message
            outcomes.add(type(error))
    assert outcomes & {list, DocumentUnreadable}


@pytest.mark.parametrize("suffix", [*PACKED, ".zip"])
def test_broken_parts_end_in_results_or_a_document_error(limits, suffix):
    dice = random.Random(8)
    outcomes = set()
    for _ in range(25):
        try:
            outcomes.add(type(load(suffix, making.spoiled_inside(dice, EXAMPLES[suffix]), limits)))
        except DocumentError as error:
            assert f"file{suffix}" in error.message
            outcomes.add(type(error))
    assert list in outcomes
    assert DocumentUnreadable in outcomes or suffix == ".zip"


@pytest.mark.parametrize("suffix", [*PACKED, ".zip"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_unreadable(limits, suffix, share):
    whole = EXAMPLES[suffix]
    with pytest.raises(DocumentUnreadable, match=f"file{suffix}: not a ZIP file"):
        load(suffix, whole[: int(len(whole) * share)], limits)


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("other", [*PACKED, ".zip"])
def test_one_format_under_the_name_of_another_is_unreadable(limits, suffix, other):
    if suffix != other:
        with pytest.raises(DocumentUnreadable, match=f"file{suffix}"):
            load(suffix, EXAMPLES[other], limits)


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_declaration_is_refused_before_any_entity_is_read(limits, suffix, encoding):
    parts = making.unzipped(EXAMPLES[suffix])
    xml = parts[MAIN_PART[suffix]].decode().split("?>")[-1]
    declared = f'<?xml version="1.0" encoding="{encoding}"?>{making.ENTITIES}{xml}'.encode(encoding)
    with pytest.raises(DocumentUnreadable, match="document type"):
        load(suffix, making.zipped({**parts, MAIN_PART[suffix]: declared}), limits)


@pytest.mark.parametrize("suffix", PACKED)
def test_what_unpacks_to_too_much_is_too_large(limits, suffix):
    bomb = b"<a>" + b" " * limits.max_unpacked_bytes + b"</a>"
    with pytest.raises(DocumentTooLarge, match=r"ingestion\.max_unpacked_bytes"):
        load(suffix, making.zipped({**making.unzipped(EXAMPLES[suffix]), MAIN_PART[suffix]: bomb}), limits)


@pytest.mark.parametrize("suffix", PACKED)
def test_pictures_do_not_count(limits, suffix):
    picture = {"media/image.png": b"\0" * (limits.max_unpacked_bytes + 1)}
    assert load(suffix, making.zipped({**making.unzipped(EXAMPLES[suffix]), **picture}), limits)


@pytest.mark.parametrize("suffix", PACKED)
def test_too_many_parts_are_too_large(limits, suffix):
    many = {f"more/{n}": b"" for n in range(limits.max_archive_files)}
    with pytest.raises(DocumentTooLarge, match=r"ingestion\.max_archive_files"):
        load(suffix, making.zipped({**making.unzipped(EXAMPLES[suffix]), **many}), limits)


@pytest.mark.parametrize("suffix", [".docx", ".pptx", ".xlsx"])
def test_an_office_file_with_a_password_is_encrypted_and_one_of_1997_unreadable(limits, suffix):
    compound = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512)
    with pytest.raises(DocumentEncrypted, match="without a password"):
        load(suffix, compound + "EncryptedPackage".encode("utf-16-le"), limits)
    with pytest.raises(DocumentUnreadable, match="before 2007"):
        load(suffix, compound, limits)


def lied_about(content: bytes, *, size: int | None = None, crc: int | None = None) -> bytes:
    """A ZIP file of one member whose headers tell something else of its unpacked size or its checksum."""
    spoiled = bytearray(content)
    central = content.index(b"PK\x01\x02")
    for header, offset in ((0, 14), (central, 16)):
        if crc is not None:
            struct.pack_into("<L", spoiled, header + offset, crc)
        if size is not None:
            struct.pack_into("<L", spoiled, header + offset + 8, size)
    return bytes(spoiled)


def test_sizes_in_headers_are_not_believed(limits):
    honest = making.zipped({"a.txt": "x" * 3_000_000})
    [result] = load(".zip", lied_about(honest, size=0xFFFFFFF0), limits)
    assert result.error.code == "document_too_large"
    [result] = load(".zip", lied_about(honest, size=10), limits)
    assert result.error.code == "document_unreadable"


def test_a_wrong_checksum_is_unreadable(limits):
    [result] = load(".zip", lied_about(making.zipped({"a.txt": "text"}), crc=1), limits)
    assert (result.id, result.error.code) == ("x/a.txt", "document_unreadable")
    assert "CRC" in result.error.message


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_inflates_without_bounds_is_refused(limits, tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.txt", "text")
    [result] = load(".zip", (tmp_path / "a.zip").read_bytes(), limits)
    assert result.error.code == "document_unreadable"
    assert "pack it again" in result.error.message


def test_a_deep_word_table_is_a_document_error(limits):
    deep = b"<w:tbl><w:tr><w:tc>" * 2_000 + b"<w:p/>" + b"</w:tc></w:tr></w:tbl>" * 2_000
    with pytest.raises(DocumentUnreadable, match="RecursionError"):
        load(".docx", making.patched(EXAMPLES[".docx"], "word/document.xml", b"<w:body>", b"<w:body>" + deep), limits)


def test_a_book_without_text_is_empty(limits):
    with pytest.raises(DocumentEmpty):
        load(".epub", making.book("<html><body><img src='cover.png'/></body></html>"), limits)
