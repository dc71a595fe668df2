"""How far a run is, on stderr: a bar on a terminal, else a line every ten seconds."""

import sys
import time
from types import TracebackType
from typing import Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LINE_EVERY_S = 10.0


class RunProgress:
    """Counts files and documents. Not thread-safe: one thread loads and reports."""

    def __init__(self, files: int) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("files"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn())
        # Rich leaves an empty line where there is no terminal to draw on.
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("ingest", total=files, told="")
        self._is_terminal = console.is_terminal
        self._files, self._files_done, self._documents, self._failed = files, 0, 0, 0
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def finish_file(self) -> None:
        """Count a file whose documents are on their way."""
        self._files_done += 1
        self._bar.advance(self._task)

    def finish_document(self, failed: bool) -> None:
        """Count a document whose outcome is known."""
        self._documents += 1
        self._failed += failed
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        told = f"{self._documents} documents, {self._failed} failed, {self._documents / max(now - self._started, 0.001):.0f}/s"
        self._bar.update(self._task, told=told)
        if not self._is_terminal and now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            typer.echo(f"{self._files_done} of {self._files} files, {told}", file=sys.stderr)
