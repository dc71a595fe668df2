"""The version of Ekiben, written in pyproject.toml alone."""

from importlib.metadata import version

VERSION = version("ekiben")
