"""The version of Ekiben, written in pyproject.toml alone."""

import tomllib
from pathlib import Path

# Not importlib.metadata: a Bento and a container hold the source tree uninstalled, and the metadata of an editable install goes stale.
_PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"

VERSION: str = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]["version"]
