"""Files inside files: the members of archives, the attachments of mails."""

from collections import Counter

from core.errors import DocumentError, DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading.registry import load_source
from pipelines.ingestion.loading.source import Source, printable
from pipelines.ingestion.refusing import Loaded, refuse

MAX_DEPTH = 3
"""How many archives and mails may lie in one another."""


class Members:
    """Loads the files inside one file. Each is named `file/member`; of several with one name the second is `member#2`."""

    def __init__(self, source: Source, limits: IngestionSettings) -> None:
        """Raise DocumentUnreadable where `source` lies too deep in others."""
        if source.depth >= MAX_DEPTH:
            raise DocumentUnreadable(f"{source}: archives and mails are nested more than {MAX_DEPTH} deep; unpack it first")
        self._source = source
        self._limits = limits
        self._seen: Counter[str] = Counter()

    def name(self, member: str) -> str:
        """The name under which a member is loaded; every call counts as another file."""
        name = printable(member)
        self._seen[name] += 1
        return name if self._seen[name] == 1 else f"{name}#{self._seen[name]}"

    def load(self, name: str, member: str, content: bytes) -> list[Loaded]:
        """The documents of a member, or a failed result in its place. `member` is its name in the file, `name` the one from `name()`."""
        source = self._source
        inner = Source(f"{source.id}/{name}", f"{source.name}/{member}", content, source.budget, source.fields, source.depth + 1)
        try:
            return load_source(inner, self._limits)
        except DocumentError as error:
            return [self.refused(name, error)]

    def refused(self, name: str, error: DocumentError) -> Loaded:
        """The failed result of a member that can't be loaded."""
        return refuse(f"{self._source.id}/{name}", error)
