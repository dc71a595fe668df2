"""The lock on a folder that one process works on at a time."""

import os
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from core.errors import InvalidSettings, StoreLocked
from services.durable import make_folder

_LOCK_SUFFIX: Final = ".lock"
_PID_SUFFIX: Final = ".pid"


def hold(folder: Path, name: str, what: str, setting: str) -> FileLock:
    """The lock `name`.lock of `folder`, held; the folder is created where it is missing, and `name`.pid tells who holds it.

    Raises StoreLocked while another process (or another holder of this one) has it, InvalidSettings where the folder can't be used. Their
    messages call what lies in the folder `what`, and the setting that names it `setting`.
    """
    # Not bound to a thread, because a service opens its folder in one thread and closes it in another.
    lock = FileLock(folder / (name + _LOCK_SUFFIX), thread_local=False)
    holder = folder / (name + _PID_SUFFIX)
    try:
        make_folder(folder)
        lock.acquire(timeout=0)
        holder.write_text(str(os.getpid()))
    except Timeout as error:
        raise StoreLocked(f"another process{_pid_in(holder)} writes to the {what} in {folder}: stop it, or use another folder ({setting})") from error
    except OSError as error:
        lock.release()
        raise InvalidSettings(f"the folder {folder} can't be used for the {what} ({error}): name another one ({setting})") from error
    return lock


def _pid_in(holder: Path) -> str:
    """` (pid N)` where the holder of the lock has already written it down."""
    try:
        return f" (pid {int(holder.read_text())})"
    except (OSError, ValueError):
        return ""
