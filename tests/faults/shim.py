"""The shim that injects faults (shim.c), compiled once a test run and driven from Python."""

import ctypes
import os
import shutil
import subprocess
from enum import IntEnum
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("shim.c")
COMPILER: Final = shutil.which("cc") or shutil.which("gcc")
REASON: Final = "the fault shim needs Linux and a C compiler (cc or gcc)"
FOREVER: Final = 1 << 40


class Action(IntEnum):
    """What happens at a write point, as shim.c numbers it."""

    NONE = 0
    KILL = 1
    """The process is killed before the call."""
    TORN = 2
    """The process is killed when half of a write is done, or right after another call."""
    FULL = 3
    """ENOSPC for what needs space; the first write is cut short."""
    BROKEN = 4
    """EIO."""


def available() -> bool:
    """Whether faults can be injected here."""
    return COMPILER is not None and os.uname().sysname == "Linux"


def compile_shim(folder: Path) -> Path:
    """The shared library, compiled into `folder`."""
    assert COMPILER
    library = folder / "shim.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", library, SOURCE, "-ldl", "-lpthread"], check=True)
    return library


def environment(library: Path) -> dict[str, str]:
    """The environment of a process that runs under the shim; one thread a library, so that it can fork."""
    return {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Shim:
    """The shim of this process, which runs under it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.shim_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_int]
        self._library.shim_points.restype = ctypes.c_long
        self._library.shim_mark.argtypes = [ctypes.c_long]

    def arm(self, folder: Path, action: Action = Action.NONE, at: int = 0, calls: int = FOREVER, trace: int = -1) -> None:
        """Count the points below `folder` from now on; `action` happens at point `at`, from 1 on, and at the `calls` - 1 after it."""
        self._library.shim_arm(str(folder).encode(), action, at, calls, trace)

    @property
    def points(self) -> int:
        """How many points were passed since `arm`."""
        return int(self._library.shim_points())

    def mark(self, number: int) -> None:
        """Write `number` into the trace, between the points before and after it."""
        self._library.shim_mark(number)
