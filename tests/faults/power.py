"""What a power loss may leave of a folder: the trace of all write points, and the folder rebuilt from it as it may be after one of them.

What a file was synced with is there. Of what was written to it since, each sector is there or not; of the names that changed in a folder
since that folder was synced, each change is there or not. That is more than file systems lose, and all that POSIX lets them lose.
"""

import os
import random
import shutil
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Self

SECTOR: Final = 512
_HEAD: Final = struct.Struct("<6q")


class Point(NamedTuple):
    """One record of the trace, as shim.c writes it: `offset` is that of a write, the new size of a cut file, the number of a mark."""

    kind: str
    fd: int
    offset: int
    path: str
    other: str
    data: bytes


@dataclass(frozen=True)
class Trace:
    """The points of a run, in order."""

    folder: Path
    records: tuple[Point, ...]

    @classmethod
    def read(cls, file: Path, folder: Path) -> Self:
        """Read what the shim wrote while it watched `folder`."""
        raw, records, at = file.read_bytes(), [], 0
        while at < len(raw):
            kind, fd, offset, *lengths = _HEAD.unpack_from(raw, at)
            at += _HEAD.size
            if chr(kind) != "W":
                lengths[2] = 0
            path, other, data = (raw[at + sum(lengths[:n]) : at + sum(lengths[: n + 1])] for n in range(3))
            records.append(Point(chr(kind), fd, offset, path.decode(), other.decode(), data))
            at += sum(lengths)
        return cls(folder, tuple(records))

    @property
    def points(self) -> int:
        """How many records there are, the marks and the openings included."""
        return len(self.records)


@dataclass
class _File:
    """A file's content on the disk, and the changes since it was last synced: bytes at an offset, or None to cut it there."""

    content: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for offset, data in self.unsynced:
            self._apply(offset, data)
        self.unsynced.clear()

    def lose(self, random_: random.Random) -> None:
        """Keep some of the unsynced changes: of a write some of its sectors."""
        keeps = random_.choice((0.0, 0.5, 0.9, 1.0))
        for offset, data in self.unsynced:
            if data is None and random_.random() < keeps:
                self._apply(offset, None)
            for start in range(0, len(data or b""), SECTOR):
                if random_.random() < keeps:
                    self._apply(offset + start, (data or b"")[start : start + SECTOR])

    def _apply(self, offset: int, data: bytes | None) -> None:
        self.content.extend(bytes(max(0, offset - len(self.content))))
        if data is None:
            del self.content[offset:]
        else:
            self.content[offset : offset + len(data)] = data


_Change = tuple[str, _File | None]
"""A name, and the file (or folder) it leads to from now on."""


class _Disk:
    """Files by path: as programs see them, and as they are on the disk."""

    def __init__(self, folder: Path) -> None:
        self.root = str(folder)
        self.seen: dict[str, _File | None] = {self.root: None}
        self.stored: dict[str, _File | None] = {self.root: None}
        self.unsynced: list[tuple[_Change, ...]] = []
        self.opened: dict[int, str | _File] = {}

    def play(self, point: Point) -> None:
        """Make the change that `point` records."""
        match point.kind:
            case "C" | "E" | "O":
                self._open(point)
            case "W":
                self._file(point).unsynced.append((point.offset, point.data))
            case "T":
                self._file(point).unsynced.append((point.offset, None))
            case "S":
                self._sync(point)
            case "M":
                self.seen[point.path] = None
                self.unsynced.append(((point.path, None),))
            case "R":
                file = self.seen[point.path]
                self._rename(point.path, point.other, file)
            case "L":
                self._name(point.other, self.seen[point.path])
            case "U":
                self.seen.pop(point.path)
                self.unsynced.append(((point.path, _GONE),))

    def _open(self, point: Point) -> None:
        if point.kind == "C":
            self._name(point.path, _File())
        file = self.seen.get(point.path)
        self.opened[point.fd] = point.path if file is None else file
        if point.kind == "E" and file is not None:
            file.unsynced.append((0, None))

    def _name(self, path: str, file: _File | None) -> None:
        self.seen[path] = file
        self.unsynced.append(((path, file),))

    def _rename(self, path: str, other: str, file: _File | None) -> None:
        moved = [name for name in self.seen if name == path or name.startswith(path + os.sep)]
        changes: list[_Change] = []
        for name in moved:
            target = other + name.removeprefix(path)
            self.seen[target] = self.seen.pop(name)
            changes += [(target, self.seen[target]), (name, _GONE)]
        self.unsynced.append(tuple(changes))

    def _file(self, point: Point) -> _File:
        file = self.opened[point.fd]
        assert isinstance(file, _File)
        return file

    def _sync(self, point: Point) -> None:
        opened = self.opened[point.fd]
        if isinstance(opened, _File):
            opened.sync()
            return
        self._store([change for change in self.unsynced if _folder_of(change) == opened])
        self.unsynced = [change for change in self.unsynced if _folder_of(change) != opened]

    def _store(self, changes: list[tuple[_Change, ...]]) -> None:
        for name, file in (pair for change in changes for pair in change):
            if file is _GONE:
                self.stored.pop(name, None)
            else:
                self.stored[name] = file

    def lose_power(self, random_: random.Random) -> None:
        """Decide what of the unsynced is on the disk."""
        keeps = random_.choice((0.0, 0.5, 0.9, 1.0))
        self._store([change for change in self.unsynced if random_.random() < keeps])
        for file in {id(file): file for file in self.stored.values() if file}.values():
            file.lose(random_)

    def sync_all(self) -> None:
        """Bring everything to the disk."""
        self._store(self.unsynced)
        for file in filter(None, self.stored.values()):
            file.sync()

    def write(self, folder: Path) -> None:
        """Write what is on the disk to `folder`, but for the memory that SQLite's processes share: it is made anew by whoever comes first."""
        for name, file in sorted(self.stored.items(), key=lambda item: item[0].count(os.sep)):
            path = folder / Path(name).relative_to(self.root)
            if not path.parent.exists() or name.endswith("-shm"):
                continue
            if file is None:
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(file.content)


_GONE: Final = _File()


def _folder_of(change: tuple[_Change, ...]) -> str:
    return os.path.dirname(change[0][0])  # noqa: PTH120 - names are strings here


def rebuild(trace: Trace, at: int, folder: Path, random_: random.Random | None) -> list[int]:
    """Make `folder` what a power loss after `at` records leaves of it; without `random_` nothing is lost. Returns the marks until then."""
    disk = _Disk(trace.folder)
    for point in trace.records[:at]:
        disk.play(point)
    if random_ is None:
        disk.sync_all()
    else:
        disk.lose_power(random_)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    disk.write(folder)
    return [point.offset for point in trace.records[:at] if point.kind == "#"]
