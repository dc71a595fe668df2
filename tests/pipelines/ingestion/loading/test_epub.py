import pytest

from core.errors import DocumentEncrypted, DocumentUnreadable
from core.schemas import Document
from pipelines.ingestion.loading import load_bytes
from tests.pipelines.ingestion.loading import making

ENCRYPTION = (
    '<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptedData><e:CipherData><e:CipherReference URI="{}"/>'
    "</e:CipherData></e:EncryptedData></encryption>"
)


def load(content: bytes, limits) -> Document:
    [document] = load_bytes("some-book.epub", content, id="x", limits=limits)
    assert isinstance(document, Document)
    return document


def test_chapters_are_joined_in_reading_order(limits):
    document = load(making.book(), limits)
    assert document.title == "A book"
    assert document.text == "One\n\nFirst text.\n\nTwo\n\ncode"
    assert [(heading.start, heading.level, heading.text) for heading in document.headings] == [(0, 1, "One"), (18, 2, "Two")]
    assert [(block.start, block.end, block.kind) for block in document.blocks] == [(23, 27, "code")]
    assert document.metadata == {"source": "some-book.epub", "format": "epub"}


def test_the_order_is_that_of_the_spine_not_of_the_files(limits):
    content = making.patched(
        making.book(), "OEBPS/book.opf", b'<itemref idref="c0"/><itemref idref="c1"/>', b'<itemref idref="c1"/><itemref idref="c0"/>'
    )
    assert load(content, limits).text.startswith("Two")


def test_xhtml_is_read_as_such(limits):
    chapter = (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><head><title/><script src="x"/></head>'
        '<body><a id="p1"/><h1>Eins</h1><p>Text&#160;one<br/>two</p><div class="x"/>after</body></html>'
    )
    document = load(making.book(chapter), limits)
    assert document.text == "Eins\n\nText one\ntwo\n\nafter"
    assert [heading.text for heading in document.headings] == ["Eins"]


def test_entities_of_a_chapter_are_not_expanded(limits):
    document = load(making.book(f"{making.ENTITIES}<html><body><p>text &b; &c;</p></body></html>"), limits)
    assert "lol" not in document.text
    assert "root" not in document.text


def test_blank_chapters_are_left_out(limits):
    assert load(making.book("", "<html><body><img src='cover.jpg'/></body></html>", "<p>text</p>"), limits).text == "text"


def test_a_book_without_a_title_is_named_by_its_file(limits):
    assert load(making.book(title=" "), limits).title == "some book"


def test_a_locked_chapter_means_encrypted_a_locked_font_does_not(limits):
    with pytest.raises(DocumentEncrypted, match="DRM"):
        load(making.book(**{"META-INF/encryption.xml": ENCRYPTION.format("OEBPS/ch%200.xhtml")}), limits)
    assert load(making.book(**{"META-INF/encryption.xml": ENCRYPTION.format("OEBPS/font.otf")}), limits)


@pytest.mark.parametrize("lost", ["META-INF/container.xml", "OEBPS/book.opf", "OEBPS/ch 1.xhtml"])
def test_a_missing_part_is_named(limits, lost):
    parts = making.unzipped(making.book())
    del parts[lost]
    with pytest.raises(DocumentUnreadable, match="no EPUB book" if "container" in lost else lost):
        load(making.zipped(parts), limits)


def test_an_unlisted_chapter_is_named(limits):
    with pytest.raises(DocumentUnreadable, match="'c9', which its list of files lacks"):
        load(making.patched(making.book(), "OEBPS/book.opf", b'idref="c1"', b'idref="c9"'), limits)
