"""ZIP files, read in memory and within a budget. What a header says of sizes is never believed."""

import io
import struct
import zlib
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from core.errors import DocumentEncrypted, DocumentTooLarge, DocumentUnreadable
from pipelines.ingestion.loading.source import Budget, Source

_CHUNK_BYTES = 65_536
_ENCRYPTED = 0x1
# The others inflate to any size in one step.
_METHODS = (ZIP_STORED, ZIP_DEFLATED)

# What zipfile raises over broken bytes. Found by fuzzing; tests go on with it.
_MALFORMED = (BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, UnicodeError, ValueError, struct.error, zlib.error)


def open_archive(source: Source) -> ZipFile:
    """The archive, its table of contents read. Raises DocumentUnreadable where it is none."""
    try:
        return ZipFile(io.BytesIO(source.content))
    except _MALFORMED as error:
        raise DocumentUnreadable(f"{source}: not a ZIP file, or a damaged one ({error})") from error


def unpack(archive: ZipFile, member: ZipInfo, name: str, budget: Budget, max_bytes: int | None = None) -> bytes:
    """The content of `member`, at most `max_bytes` of it; `name` is for messages.

    Raises DocumentEncrypted, DocumentUnreadable (damaged, a checksum that doesn't fit, an unknown compression) or DocumentTooLarge.
    """
    if member.flag_bits & _ENCRYPTED:
        raise DocumentEncrypted(f"{name}: encrypted and can't be opened without a password; pack it without encryption first")
    if member.compress_type not in _METHODS:
        raise DocumentUnreadable(f"{name}: packed with compression method {member.compress_type}; only deflate is read, pack it again")
    try:
        with archive.open(member) as file:
            return _read(file, name, budget, max_bytes)
    except _MALFORMED as error:
        raise DocumentUnreadable(f"{name}: damaged inside its ZIP file ({error})") from error


def _read(file: IO[bytes], name: str, budget: Budget, max_bytes: int | None) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := file.read(_CHUNK_BYTES):
        budget.take_bytes(len(chunk), name)
        size += len(chunk)
        if max_bytes is not None and size > max_bytes:
            raise DocumentTooLarge(f"{name}: unpacks to more than {max_bytes} bytes, the limit of one file (ingestion.max_file_bytes)")
        chunks.append(chunk)
    return b"".join(chunks)
