"""Plain text."""

from core.settings import IngestionSettings
from pipelines.ingestion.loading.encoding import decode
from pipelines.ingestion.loading.source import Extract, Source, finish, first_line
from pipelines.ingestion.refusing import Loaded


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """One document; a short first line is its title."""
    text = decode(source.content, str(source))
    return [finish(source, "text", Extract(first_line(text), text), limits)]
