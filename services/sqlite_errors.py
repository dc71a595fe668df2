"""SQLite's errors in our words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from core.errors import EkibenError, Internal, InvalidSettings, NotReady, StorageFull, StoreCorrupt

# Where the disk runs out of space SQLite mostly says SQLITE_FULL; a quota, and a file that can't grow under a memory map, look like these.
_NO_SPACE: Final = frozenset({sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_SHMSIZE})
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# A damaged full-text index is reported as a plain error, and text that is none by Python's module, without a code. Errors in a statement of
# ours have a message of their own.
_DAMAGE_IN_WORDS: Final = ("fts5", "SQL logic error", "vtable constructor failed", "Could not decode to UTF-8")
_UNUSABLE: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM})
_PRIMARY_CODE: Final = 0xFF


def damage(finding: str) -> sqlite3.DatabaseError:
    """The error for damage that SQLite can't see, as it reports what it sees: to be raised where errors are translated."""
    error = sqlite3.DatabaseError(finding)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


@dataclass(frozen=True)
class Place:
    """What a database holds, the folder it lies in, the setting that names the folder, and the way out where it is damaged."""

    what: str
    folder: Path
    setting: str
    way_out: str

    @contextmanager
    def translating(self, *, opening: bool = False) -> Iterator[None]:
        """Raise what SQLite raises inside as an error of ours; stored JSON or names that can't be read are damage."""
        try:
            yield
        except sqlite3.Error as error:
            raise self.translated(error, opening=opening) from error
        except (JSONDecodeError, ValidationError, UnicodeDecodeError) as error:
            raise self.damaged(f"what is stored can't be read, {type(error).__name__}") from error

    def translated(self, error: sqlite3.Error, *, opening: bool = False) -> EkibenError:
        """StorageFull, StoreCorrupt, NotReady or Internal; while `opening`, InvalidSettings where the file can't be opened or written."""
        where = f"the {self.what} in {self.folder}"
        if isinstance(error, sqlite3.ProgrammingError) and "closed database" in str(error):
            return NotReady(f"{where} is closed: the service is shutting down")
        # Only errors that SQLite itself reports have a code; misuse found by Python's module has none.
        extended: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        primary = extended & _PRIMARY_CODE
        if primary == sqlite3.SQLITE_FULL or extended in _NO_SPACE:
            return StorageFull(f"no space left for {where} ({error}): free some space and try again")
        if primary in _DAMAGE or any(words in str(error) for words in _DAMAGE_IN_WORDS):
            return self.damaged(error)
        if opening and primary in _UNUSABLE:
            return InvalidSettings(f"{where} can't be opened for writing ({error}): check the folder ({self.setting}) and its owner")
        return Internal(f"SQLite: {type(error).__name__}: {error} ({self.what} in {self.folder})")

    def damaged(self, finding: object) -> StoreCorrupt:
        """The error that tells of a finding, and of the way out."""
        return StoreCorrupt(f"the {self.what} in {self.folder} is damaged ({finding}): {self.way_out}")
