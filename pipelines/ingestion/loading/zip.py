"""ZIP archives: every file in them is loaded as if it lay in a folder."""

import re
import stat
from collections.abc import Iterator
from zipfile import ZipFile, ZipInfo

from core.errors import DocumentEmpty, DocumentError, DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading.nesting import Members
from pipelines.ingestion.loading.registry import refuse_unsupported
from pipelines.ingestion.loading.source import Source, printable
from pipelines.ingestion.loading.unpacking import open_archive, unpack
from pipelines.ingestion.refusing import Loaded

_FURNITURE = "__MACOSX"
_UTF8_NAME = 0x800
_SEPARATOR = re.compile(r"[/\\]")
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """The documents of all files in the archive, in its order; a failed result in the place of each that can't be loaded.

    Folders, `__MACOSX/` and names that begin with a dot are passed over. Raises DocumentTooLarge where the archive holds too many files.
    """
    members = Members(source, limits)
    with open_archive(source) as archive:
        files = [(_name(info), info) for info in archive.infolist()]
        files = [(name, info) for name, info in files if not _is_furniture(name)]
        source.budget.take_files(len(files), str(source))
        loaded = [item for name, info in files for item in _load_member(members, archive, info, name, source, limits)]
    if not loaded:
        raise DocumentEmpty(f"{source}: holds no files")
    return loaded


def _load_member(members: Members, archive: ZipFile, info: ZipInfo, name: str, source: Source, limits: IngestionSettings) -> Iterator[Loaded]:
    unique = members.name(name)
    shown = f"{source}/{printable(name)}"
    try:
        _refuse_odd(info, name, shown)
        refuse_unsupported(name, shown)
        content = unpack(archive, info, shown, source.budget, limits.max_file_bytes)
    except DocumentError as error:
        yield members.refused(unique, error)
    else:
        yield from members.load(unique, name, content)


def _name(info: ZipInfo) -> str:
    """The whole name, of which zipfile keeps what stands before a NUL; UTF-8 where it is, though the flag for it is often missing."""
    name = info.orig_filename
    if info.flag_bits & _UTF8_NAME:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _is_furniture(name: str) -> bool:
    parts = _SEPARATOR.split(name)
    return name.endswith("/") or parts[0] == _FURNITURE or any(part.startswith(".") and part not in {".", ".."} for part in parts)


def _refuse_odd(info: ZipInfo, name: str, shown: str) -> None:
    """Raise DocumentUnreadable for names that lead out of the archive, and for links. Nothing is written to disk; their ids would mislead."""
    if "\x00" in name or _ABSOLUTE.match(name) or ".." in _SEPARATOR.split(name):
        raise DocumentUnreadable(f"{shown}: a path that leads out of the archive; pack it again with plain relative names")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DocumentUnreadable(f"{shown}: a symbolic link, which is not followed; pack the file itself")
