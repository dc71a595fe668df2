"""How many commits of a database were acknowledged: a small file beside it.

SQLite takes a write-ahead log that is missing, or damaged in the middle, for one that ends there, and a database that is missing for a new one.
"""

import logging
import os
import re
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

COMMITTED_NAME: Final = "COMMITTED"
_LINE: Final = re.compile(rb"((\d{20}) ([\w.-]{1,64})) ([0-9a-f]{8})\n")

log = logging.getLogger("ekiben.commits")


class Committed(NamedTuple):
    """What the file says: so many commits of the database of this name."""

    commits: int
    name: str


def note_commits(folder: Path, commits: int, name: str) -> None:
    """Write down that the database `name` has made `commits` commits; a disk that fails is logged.

    Not synced: the database is, before this is called. After a power loss, or where the disk fails here, this tells of fewer commits than
    there are, never of more.
    """
    line = f"{commits:020} {name}".encode()
    try:
        descriptor = os.open(folder / COMMITTED_NAME, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, line + f" {crc32(line):08x}\n".encode(), 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("the number of commits could not be noted", extra={"error": str(error)})


def noted_commits(folder: Path) -> Committed | None:
    """What was noted last; None where nothing was, or where the note is damaged, which is logged. Raises OSError."""
    path = folder / COMMITTED_NAME
    line = path.read_bytes() if path.exists() else b""
    noted = _LINE.fullmatch(line)
    if noted and crc32(noted[1]) == int(noted[4], 16):
        return Committed(int(noted[2]), noted[3].decode())
    if line:
        log.warning("COMMITTED is damaged and is written anew: whether the last commits are all there is not known")
        path.unlink()
    return None
