"""Which stored documents `--sync` deletes, and when it deletes none."""

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from core.errors import DocumentUnreadable
from core.schemas import DocumentResult
from pipelines.ingestion.refusing import Loaded

# The documents in these have ids of their own, so that nobody can tell which ones a broken file or line would have brought.
_CONTAINERS = frozenset({".json", ".jsonl", ".zip", ".eml"})


class Leftovers:
    """The documents of a collection that the paths of a run no longer hold. Has to be told of all that the run finds."""

    def __init__(self, stored: Iterable[str]) -> None:
        self._stored = tuple(stored)
        self._named: set[str] = set()
        self._found_documents = False
        self._reason: str | None = None

    def saw_path(self, result: DocumentResult) -> None:
        """Take note of a path that did not lead to a file, or to one whose id is taken."""
        self._named.add(result.id)
        if result.error and result.error.code == DocumentUnreadable.code:
            self._hold_back(f"{result.id} could not be read")
        self._look_into(result.id)

    def saw_empty_path(self, path: str) -> None:
        """Take note of a path below which there is no file, as where a disk is not mounted."""
        self._hold_back(f"there is nothing to ingest in {path}")

    def saw_file(self, file_id: str, loaded: Sequence[Loaded]) -> None:
        """Take note of what was in a file."""
        failed = [item for item in loaded if isinstance(item, DocumentResult)]
        self._named.update(item.id for item in loaded)
        self._named.add(file_id)
        self._found_documents |= len(failed) < len(loaded)
        if failed:
            self._look_into(file_id)

    def _look_into(self, failed_file: str) -> None:
        if PurePosixPath(failed_file).suffix.lower() in _CONTAINERS:
            self._hold_back(f"{failed_file} failed in whole or in part, and the documents in such files may have any id")

    def _hold_back(self, reason: str) -> None:
        self._reason = self._reason or reason

    @property
    def held_back(self) -> str | None:
        """Why nothing may be deleted; None where there is no reason."""
        return self._reason or (None if self._found_documents else "no document was found")

    def ids(self) -> list[str]:
        """The documents to delete. One whose file is there but failed to load is kept."""
        return [] if self.held_back else [document_id for document_id in self._stored if document_id not in self._named]
