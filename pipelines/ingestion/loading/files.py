"""Reads files from disk, and only what is one."""

import stat
from pathlib import Path

from core.errors import DocumentTooLarge, DocumentUnreadable
from pipelines.ingestion.loading.source import printable


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file of at most `max_bytes`.

    Raises DocumentTooLarge by its size before it is opened, and DocumentUnreadable for what is no file: a pipe or a device could block
    for ever or never end.
    """
    name = printable(path.name)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DocumentUnreadable(f"{name}: not a regular file (a folder, pipe or device); only files are loaded")
        if status.st_size > max_bytes:
            raise DocumentTooLarge(f"{name}: {status.st_size} bytes are above the limit of {max_bytes} (ingestion.max_file_bytes)")
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise DocumentUnreadable(f"{name}: can't be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > max_bytes:
        raise DocumentTooLarge(f"{name}: the file grew above the limit of {max_bytes} bytes (ingestion.max_file_bytes) while it was read")
    return content
