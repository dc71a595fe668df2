"""Loads files in processes of their own that can be killed: a parser may hang, eat memory or crash without harm to anything but its file."""

import multiprocessing
import os
import pickle
import resource
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Protocol, Self, cast

from core.errors import DocumentError, DocumentTooHungry, DocumentTooSlow, DocumentUnreadable, NotReady
from core.schemas import FieldMap
from core.settings import IngestionSettings
from pipelines.ingestion.loading import load_file
from pipelines.ingestion.loading.source import printable
from pipelines.ingestion.refusing import Loaded, refuse

_START_TIMEOUT_S = 60.0
_LAST_RESORT_S = 3.0
_READY = b"ready"
_USUAL_FIELDS = FieldMap()
# spawn: a fork would copy the sockets and locks of a process full of threads.
_spawning = multiprocessing.get_context("spawn")


class LoadsFile(Protocol):
    """What a parser process calls; it is sent there by its name."""

    def __call__(self, path: Path, *, id: str, limits: IngestionSettings, name: str | None, fields: FieldMap) -> list[Loaded]:  # noqa: A002
        """See `pipelines.ingestion.loading.load_file`."""


@dataclass(frozen=True)
class _Task:
    path: Path
    id: str
    name: str
    fields: FieldMap


class IsolatedLoader:
    """Loads at most `workers` files at once, each in a process with bounds on time and memory. Thread-safe.

    Processes start when they are needed, serve one file after the other, and end with this process, even where that is killed.
    """

    def __init__(self, limits: IngestionSettings, workers: int = 1, *, load: LoadsFile = load_file) -> None:
        self._limits = limits
        self._load = load
        self._turns = threading.BoundedSemaphore(workers)
        self._lock = threading.Lock()
        self._idle: list[_Parser] = []
        self._all: set[_Parser] = set()
        self._closed = False

    def load_file(
        self,
        path: Path,
        *,
        id: str,  # noqa: A002 - the documents' field is called id
        name: str | None = None,
        fields: FieldMap = _USUAL_FIELDS,
    ) -> list[Loaded]:
        """The documents in a file, as `loading.load_file` has it; one failed result stands for a file that can't be loaded at all. Blocks.

        A file is refused as well where its parser takes longer than `parse_timeout_s` or dies. Raises NotReady where no process can be
        started and after `close`.
        """
        task = _Task(path, id, name or path.name, fields)
        with self._turns:
            try:
                return self._parse(task)
            except DocumentError as error:
                return [refuse(id, error)]

    def _parse(self, task: _Task) -> list[Loaded]:
        parser = self._take()
        try:
            loaded, spent = parser.parse(task, self._limits.parse_timeout_s)
        except BaseException:
            self._end(parser)
            self._require_open()  # `close` has killed it, the file is not to blame
            raise
        if spent:
            self._end(parser)
        else:
            self._give_back(parser)
        return loaded

    def _take(self) -> "_Parser":
        with self._lock:
            self._require_open()
            while self._idle:
                if (parser := self._idle.pop()).is_alive():
                    return parser
                self._all.discard(parser)
            parser = _Parser(self._limits, self._load)
            self._all.add(parser)
        return parser

    def _give_back(self, parser: "_Parser") -> None:
        with self._lock:
            self._idle.append(parser)

    def _end(self, parser: "_Parser") -> None:
        with self._lock:
            self._all.discard(parser)
            parser.kill()

    def _require_open(self) -> None:
        if self._closed:
            raise NotReady("files are no longer loaded: the service is shutting down")

    def close(self) -> None:
        """Kill all processes; a file that is being loaded is given up with NotReady."""
        with self._lock:
            self._closed = True
            while self._all:
                self._all.pop().kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Parser:
    """One process and this end of its pipe. Its process is reaped under the owner's lock, because `multiprocessing` reaps without one."""

    def __init__(self, limits: IngestionSettings, load: LoadsFile) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        with theirs:
            self._process = _spawning.Process(target=_serve, args=(theirs, limits, load), name="ekiben-parser", daemon=True)
            try:
                self._process.start()
            except OSError as error:
                self._pipe.close()
                raise NotReady(f"no process to parse files in can be started ({error.strerror}): try again in a moment") from error
        self._ready = False

    def is_alive(self) -> bool:
        return not wait([self._process.sentinel], 0)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        # The pipe is left to whoever reads it: closing it here would pull it away from under another thread.

    def parse(self, task: _Task, timeout_s: float) -> tuple[list[Loaded], bool]:
        """The documents, and whether the process is spent."""
        self._await_ready()
        name = printable(task.name)
        try:
            self._pipe.send(task)
            if not self._pipe.poll(timeout_s):
                raise DocumentTooSlow(
                    f"{name}: the parser was stopped after {timeout_s:g} s (ingestion.parse_timeout_s); split the file or convert it"
                )
            return cast("tuple[list[Loaded], bool]", self._pipe.recv())
        except (EOFError, OSError) as error:
            raise DocumentUnreadable(f"{name}: the parser died on it; convert the file to another format") from error

    def _await_ready(self) -> None:
        """A process that starts takes no time from the file's."""
        if self._ready:
            return
        try:
            self._ready = self._pipe.poll(_START_TIMEOUT_S) and self._pipe.recv_bytes() == _READY
        except (EOFError, OSError):
            self._ready = False
        if not self._ready:
            raise NotReady("the process to parse files in did not start: the log has its last words; is ingestion.parse_memory_bytes too small?")


def _serve(pipe: Connection, limits: IngestionSettings, load: LoadsFile) -> None:
    """The life of a parser process. What `load` raises besides errors of ours ends it, with a traceback in the log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to see
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _bound_memory(limits.parse_memory_bytes)
    pipe.send_bytes(_READY)
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        # The kernel ends what neither the parent (killed) nor the thread (a parser that keeps the GIL) can end.
        signal.setitimer(signal.ITIMER_REAL, limits.parse_timeout_s + _LAST_RESORT_S)
        pipe.send_bytes(_answer(task, limits, load))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(task: _Task, limits: IngestionSettings, load: LoadsFile) -> bytes:
    try:
        return pickle.dumps((load(task.path, id=task.id, limits=limits, name=task.name, fields=task.fields), False))
    except DocumentError as error:
        return pickle.dumps(([refuse(task.id, error)], False))
    except MemoryError:
        asked = f"the parser asked for more memory than {limits.parse_memory_bytes} bytes (ingestion.parse_memory_bytes)"
        return pickle.dumps(([refuse(task.id, DocumentTooHungry(f"{printable(task.name)}: {asked}; split the file"))], True))


def _bound_memory(wanted: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
