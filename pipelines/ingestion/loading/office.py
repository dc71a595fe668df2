"""What the formats of Office Open XML share: a ZIP file of XML parts."""

import io
from zipfile import ZipFile

from core.errors import DocumentEncrypted, DocumentTooLarge, DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading.source import Source
from pipelines.ingestion.loading.unpacking import open_archive, unpack
from pipelines.ingestion.loading.xml_parts import parse_xml, refuse_dtd
from pipelines.ingestion.normalizing import normalize

_COMPOUND_FILE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
_CONTENTS = "[Content_Types].xml"
_PROPERTIES = "docProps/core.xml"
_TITLE = ".//{http://purl.org/dc/elements/1.1/}title"
_XML_SUFFIXES = (".xml", ".rels")


def clean_package(source: Source, language: str, limits: IngestionSettings) -> io.BytesIO:
    """`source` packed anew: every XML part checked, everything else (pictures, fonts, macros) emptied.

    `language` is the markup language that the table of contents has to name, such as wordprocessingml. The parsers open the file by
    themselves; what they get has the size that was counted. Raises DocumentUnreadable, DocumentEncrypted or DocumentTooLarge.
    """
    _refuse_compound_file(source)
    clean = io.BytesIO()
    with open_archive(source) as archive, ZipFile(clean, "w") as target:
        names = dict.fromkeys(archive.namelist())
        if _CONTENTS not in names:
            raise DocumentUnreadable(f"{source}: a ZIP file, but no Office document; rename it to .zip to load what it holds")
        if len(names) > limits.max_archive_files:
            raise DocumentTooLarge(f"{source}: {len(names)} parts are above the limit of {limits.max_archive_files} (ingestion.max_archive_files)")
        for name in names:
            content = _checked_part(archive, name, source) if name.lower().endswith(_XML_SUFFIXES) else b""
            if name == _CONTENTS and language.encode() not in content:
                raise DocumentUnreadable(f"{source}: an Office document of another kind; rename it to the suffix of that")
            target.writestr(name, content)
    clean.seek(0)
    return clean


def title_of(package: io.BytesIO, source: Source) -> str:
    """The title in the properties of a clean package, or nothing."""
    with ZipFile(package) as archive:
        content = archive.read(_PROPERTIES) if _PROPERTIES in archive.namelist() else b""
    package.seek(0)
    found = parse_xml(content, f"{source}, {_PROPERTIES}").find(_TITLE) if content else None
    return "" if found is None else normalize(found.text or "").strip()


def _checked_part(archive: ZipFile, name: str, source: Source) -> bytes:
    shown = f"{source}, {normalize(name)}"
    content = unpack(archive, archive.getinfo(name), shown, source.budget)
    refuse_dtd(content, shown)
    return content


def _refuse_compound_file(source: Source) -> None:
    if not source.content.startswith(_COMPOUND_FILE):
        return
    if _ENCRYPTED_STREAM in source.content:
        raise DocumentEncrypted(f"{source}: encrypted and can't be opened without a password; save it without encryption first")
    raise DocumentUnreadable(f"{source}: in the binary format that Office wrote before 2007; open it there and save it anew")
