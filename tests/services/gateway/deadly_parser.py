"""What the tests put into the parser process in place of the loaders. A module of its own, because that process imports it by name."""

import os

from core.settings import IngestionSettings
from pipelines.ingestion.refusing import Loaded
from services.gateway import uploads

_load = uploads._load


def load(name: str, content: bytes, limits: IngestionSettings) -> list[Loaded]:
    """As the loaders do, but dies on a file that says so."""
    if content == b"die":
        os._exit(1)
    return _load(name, content, limits)
