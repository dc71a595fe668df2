"""EPUB books: the chapters in their order, each laid out as the web page it is."""

import posixpath
import re
from collections.abc import Iterator
from urllib.parse import unquote
from zipfile import ZipFile

from lxml import etree  # type: ignore[import-untyped]

from core.errors import DocumentEmpty, DocumentEncrypted, DocumentTooLarge, DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading.composing import Composition
from pipelines.ingestion.loading.encoding import decode
from pipelines.ingestion.loading.html import extract_page
from pipelines.ingestion.loading.source import Source, finish
from pipelines.ingestion.loading.unpacking import open_archive, unpack
from pipelines.ingestion.loading.xml_parts import parse_xml
from pipelines.ingestion.normalizing import normalize
from pipelines.ingestion.refusing import Loaded

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_CHAPTER_TYPES = ("application/xhtml+xml", "text/html", "application/xml", "text/x-oeb1-document")
# HTML parsers take <a id="x"/> for an open tag, and <title/> swallows the page.
_CLOSED_AT_ONCE = re.compile(r"<(?!(?:br|hr|img|meta|link|input|col|area|base|wbr|source|track|embed|param)\b)([A-Za-z][\w.-]*)((?:\s[^<>]*)?)/>")


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """One document; its title is the book's. Raises DocumentEncrypted where a chapter is locked by DRM."""
    with open_archive(source) as archive:
        if len(archive.namelist()) > limits.max_archive_files:
            raise DocumentTooLarge(
                f"{source}: {len(archive.namelist())} files are above the limit of {limits.max_archive_files} (ingestion.max_archive_files)"
            )
        book = _Book(archive, source)
        composition = Composition(source, limits)
        for chapter in book.chapters():
            _add_chapter(composition, chapter, book.read_chapter(chapter), source)
    return [finish(source, "epub", composition.finished(book.title), limits)]


def _add_chapter(composition: Composition, chapter: str, content: bytes, source: Source) -> None:
    name = f"{source}, {normalize(chapter)}"
    if not content.strip():
        return
    markup = _CLOSED_AT_ONCE.sub(r"<\1\2></\1>", decode(content, name))
    try:
        composition.add_extract(extract_page(markup, name))
    except DocumentEmpty:  # a cover is often nothing but a picture
        return


class _Book:
    """The files of a book: META-INF/container.xml names the package file, and that names title, files and their order."""

    def __init__(self, archive: ZipFile, source: Source) -> None:
        self._archive = archive
        self._source = source
        self._names = set(archive.namelist())
        self._package = self._package_path()
        self._root = self._parse(self._package)
        self._locked = set(self._encrypted_paths())

    @property
    def title(self) -> str:
        """The first title that the package file gives, or nothing."""
        return next((text for element in self._found("title") if (text := normalize(element.text or "").strip())), "")

    def chapters(self) -> Iterator[str]:
        """Paths of the chapters in reading order. Raises DocumentUnreadable for an order of files that are not listed."""
        files = {element.get("id"): element for element in self._found("item")}
        for reference in self._found("itemref"):
            item = files.get(reference.get("idref"))
            if item is None:
                raise DocumentUnreadable(f"{self._source}: its reading order names {reference.get('idref')!r}, which its list of files lacks")
            if item.get("media-type", _CHAPTER_TYPES[0]) in _CHAPTER_TYPES:
                yield self._resolved(item.get("href", ""))

    def read_chapter(self, path: str) -> bytes:
        """A chapter as it is packed. Raises DocumentUnreadable where it is missing, DocumentEncrypted where it is locked."""
        if path in self._locked:
            raise DocumentEncrypted(f"{self._source}: locked by a reader's licence (DRM); only books without it can be read")
        return self._read(path)

    def _read(self, path: str) -> bytes:
        if path not in self._names:
            raise DocumentUnreadable(f"{self._source}: a part of the book is missing, {normalize(path)!r}")
        return unpack(self._archive, self._archive.getinfo(path), f"{self._source}, {normalize(path)}", self._source.budget)

    def _package_path(self) -> str:
        if _CONTAINER not in self._names:
            raise DocumentUnreadable(f"{self._source}: a ZIP file, but no EPUB book; rename it to .zip to load what it holds")
        rootfile = next(self._parse(_CONTAINER).iter("{*}rootfile"), None)
        return str(rootfile.get("full-path", "")) if rootfile is not None else ""

    def _encrypted_paths(self) -> Iterator[str]:
        """Files with a cipher of their own; fonts are often only obscured, and no chapters."""
        if _ENCRYPTION in self._names:
            for element in self._parse(_ENCRYPTION).iter("{*}CipherReference"):
                yield unquote(element.get("URI", ""))

    def _parse(self, path: str) -> etree._Element:
        return parse_xml(self._read(path), f"{self._source}, {normalize(path)}")

    def _found(self, tag: str) -> Iterator[etree._Element]:
        yield from self._root.iter(f"{{*}}{tag}")

    def _resolved(self, href: str) -> str:
        folder = posixpath.dirname(self._package)
        return posixpath.normpath(posixpath.join(folder, unquote(href.split("#", maxsplit=1)[0])))
