"""What the tests put into the parser process in place of the loaders. A module of its own, because that process imports it by name."""

import ctypes
import os
import re
import signal
from pathlib import Path

from core.errors import DocumentEncrypted
from core.schemas import FieldMap
from core.settings import IngestionSettings
from pipelines.ingestion.loading import load_file
from pipelines.ingestion.refusing import Loaded


def load(path: Path, *, id: str, limits: IngestionSettings, name: str | None, fields: FieldMap) -> list[Loaded]:  # noqa: A002
    """As the loaders do, but a file whose text names a disaster meets it."""
    match path.read_text():
        case "hang":
            signal.pause()
        case "hang with the GIL":
            _hold_the_gil()
        case "eat":
            bytearray(limits.parse_memory_bytes)
        case "exit":
            os._exit(0)
        case "crash":
            ctypes.string_at(0)
        case "raise":
            raise KeyError("unforeseen")
        case "refuse":
            raise DocumentEncrypted(f"{name}: asks for a password, as {fields.text} says")
        case "who":
            path.with_name(f"{path.name}.pid").write_text(str(os.getpid()))
        case "wait":
            _wait(path.parent)
        case "wait, then hang with the GIL":
            _wait(path.parent)
            _hold_the_gil()
    return load_file(path, id=id, limits=limits, name=name, fields=fields)


def _wait(folder: Path) -> None:
    (folder / "started").write_text(str(os.getpid()))
    with (folder / "gate").open("rb") as gate:
        gate.read()


def _hold_the_gil() -> None:
    re.match("(a|aa)+$", "a" * 1000 + "b")
