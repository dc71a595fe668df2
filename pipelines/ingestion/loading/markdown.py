"""Markdown. The source itself is the text, so that offsets mean something to its author."""

import re
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from core.schemas import MAX_TITLE_CHARS, Block, Heading
from core.settings import IngestionSettings
from pipelines.ingestion.loading.encoding import decode
from pipelines.ingestion.loading.source import Extract, Source, finish
from pipelines.ingestion.refusing import Loaded

# Bounded, because PyYAML takes seconds for a few thousand nested brackets.
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.{0,3000}?)^(?:---|\.\.\.)[ \t]*$", re.DOTALL | re.MULTILINE)
_MAX_INLINE_CHARS = 4 * MAX_TITLE_CHARS
_CODE = ("fence", "code_block")


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """One document; its title is that of the front matter, else the first heading. Headings inside lists and quotes are text."""
    text = decode(source.content, str(source))
    front = _FRONT_MATTER.match(text)
    title = _front_matter_title(front[1]) if front else ""
    headings, blocks = _structure(text, front.end() if front else 0)
    first = next((heading.text for heading in headings), "")
    return [finish(source, "markdown", Extract(title or first, text, headings=headings, blocks=blocks), limits)]


def _front_matter_title(front_matter: str) -> str:
    try:
        fields = yaml.safe_load(front_matter)
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date such as 2024-13-45
        return ""
    title = fields.get("title") if isinstance(fields, dict) else None
    return str(title) if isinstance(title, str | int | float) else ""


def _structure(text: str, begin: int) -> tuple[tuple[Heading, ...], tuple[Block, ...]]:
    """The headings that have a text, and the tables and code, of what stands from `begin` on."""
    parser = MarkdownIt("commonmark").enable("table")
    # Inline markup of the whole text would take most of the time, and only that of headings is looked at.
    parser.core.ruler.enableOnly(["normalize", "block"])
    tokens = parser.parse(text[begin:])
    lines = text[begin:].split("\n")
    starts = list(accumulate((len(line) + 1 for line in lines), initial=begin))
    return tuple(_headings(tokens, starts)), tuple(_blocks(tokens, lines, starts))


def _headings(tokens: list[Token], starts: list[int]) -> Iterator[Heading]:
    inline = MarkdownIt("commonmark")
    for token, content in pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            text = _plain(inline.parseInline(content.content[:_MAX_INLINE_CHARS]))[:MAX_TITLE_CHARS].rstrip()
            if text:
                yield Heading(start=starts[token.map[0]], level=int(token.tag[1]), text=text)


def _plain(tokens: Iterable[Token]) -> str:
    """The heading on one line, without its markup."""
    parts = [part for token in tokens for part in token.children or () if part.type != "html_inline"]
    return " ".join("".join(" " if part.type in {"softbreak", "hardbreak"} else part.content for part in parts).split())


def _blocks(tokens: Iterable[Token], lines: list[str], starts: list[int]) -> Iterator[Block]:
    for token in tokens:
        if token.map and (token.type in _CODE or token.type == "table_open"):
            first, after = token.map
            while after > first and not lines[after - 1].strip():
                after -= 1
            if after > first:
                yield Block(start=starts[first], end=starts[after] - 1, kind="code" if token.type in _CODE else "table")
