"""Markdown. The source itself is the text, so that offsets mean something to its author."""

import re

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from core.settings import IngestionSettings
from pipelines.ingestion.loading.encoding import decode
from pipelines.ingestion.loading.source import Extract, Source, finish
from pipelines.ingestion.refusing import Loaded

# Bounded, because PyYAML takes seconds for a few thousand nested brackets.
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.{0,3000}?)^(?:---|\.\.\.)[ \t]*$", re.DOTALL | re.MULTILINE)
_TITLE_PROBE_CHARS = 20_000


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """One document; its title is that of the front matter, else the first heading."""
    text = decode(source.content, str(source))
    front = _FRONT_MATTER.match(text)
    title = _front_matter_title(front[1]) if front else ""
    body = text[front.end() if front else 0 :]
    return [finish(source, "markdown", Extract(title or _first_heading(body[:_TITLE_PROBE_CHARS]), text), limits)]


def _front_matter_title(front_matter: str) -> str:
    try:
        fields = yaml.safe_load(front_matter)
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date such as 2024-13-45
        return ""
    title = fields.get("title") if isinstance(fields, dict) else None
    return str(title) if isinstance(title, str | int | float) else ""


def _first_heading(markdown: str) -> str:
    tokens = MarkdownIt("commonmark").parse(markdown)
    headings = (_plain(tokens[place + 1]) for place, token in enumerate(tokens) if token.type == "heading_open")
    return next(filter(None, headings), "")


def _plain(inline: Token) -> str:
    """The heading without its markup."""
    parts = (" " if part.type == "softbreak" else part.content for part in inline.children or () if part.type != "html_inline")
    return "".join(parts).strip()
