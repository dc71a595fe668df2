"""HTML. Inscriptis lays the text out as a browser would, so that the columns of tables stay apart."""

import re
from functools import cache

from inscriptis import Inscriptis  # type: ignore[import-untyped]
from inscriptis.css_profiles import CSS_PROFILES  # type: ignore[import-untyped]
from inscriptis.model.config import ParserConfig  # type: ignore[import-untyped]
from lxml import etree  # type: ignore[import-untyped]
from lxml.html import HtmlElement, HTMLParser, document_fromstring  # type: ignore[import-untyped]

from core.errors import DocumentEmpty, DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading.encoding import decode
from pipelines.ingestion.loading.source import Extract, Source, finish
from pipelines.ingestion.normalizing import normalize
from pipelines.ingestion.refusing import Loaded

_INVISIBLE = ("script", "style", "noscript", "template")
_AROUND_THE_CONTENT = ("nav", "header", "footer", "aside", "form")
_TRAILING_SPACE = re.compile(r"[^\S\n]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """One document without scripts and page furniture; its title is <title>, else the first <h1>."""
    markup = decode(source.content, str(source))
    root = _parse(markup, source)
    title = _title(root)
    etree.strip_elements(root, *_INVISIBLE, *_AROUND_THE_CONTENT, with_tail=False)
    text = _lay_out(root)
    if not text:
        # Some sites wrap the whole page in one <form> or <header>.
        root = _parse(markup, source)
        etree.strip_elements(root, *_INVISIBLE, with_tail=False)
        text = _lay_out(root)
    return [finish(source, "html", Extract(title, text), limits)]


def _parse(markup: str, source: Source) -> HtmlElement:
    # As bytes: lxml refuses a str with an encoding declaration. Huge: 2,048 levels instead of 256.
    parser = HTMLParser(encoding="utf-8", huge_tree=True)
    try:
        root = document_fromstring(markup.encode(), parser=parser)
    except etree.LxmlError as error:
        raise DocumentEmpty(f"{source}: holds no HTML elements and no text") from error
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        # libxml2 has left out the rest without a word.
        raise DocumentUnreadable(f"{source}: elements are nested more than 2,048 deep; save the page as text first")
    return root


def _title(root: HtmlElement) -> str:
    for path in (".//head/title", ".//h1"):
        found = root.find(path)
        if found is not None and (title := "".join(found.itertext()).strip()):
            return title
    return ""


def _lay_out(root: HtmlElement) -> str:
    try:
        text = Inscriptis(root, _layout()).get_text()
    except RecursionError:
        # Inscriptis recurses once a level; a page nested a thousand deep has no layout worth keeping.
        text = "\n".join(part.strip() for part in root.itertext() if part.strip())
    return _BLANK_LINES.sub("\n\n", _TRAILING_SPACE.sub("", normalize(text))).strip()


@cache
def _layout() -> ParserConfig:
    # The strict profile doesn't indent <div>: the text is prose to be quoted, not a page to look at.
    return ParserConfig(css=CSS_PROFILES["strict"])
