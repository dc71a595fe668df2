"""HTML. Its layout is that of a browser (see layout.py); scripts and page furniture are left out."""

from lxml import etree  # type: ignore[import-untyped]
from lxml.html import HtmlElement, HTMLParser, document_fromstring  # type: ignore[import-untyped]

from core.errors import DocumentEmpty, DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading.encoding import decode
from pipelines.ingestion.loading.layout import Layout, lay_out
from pipelines.ingestion.loading.source import Extract, Source, finish
from pipelines.ingestion.refusing import Loaded

_INVISIBLE = ("script", "style", "noscript", "template")
_AROUND_THE_CONTENT = ("nav", "header", "footer", "aside", "form")


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """One document without scripts and page furniture; its title is <title>, else the first <h1>."""
    extract = extract_page(decode(source.content, str(source)), str(source))
    return [finish(source, "html", extract, limits)]


def extract_page(markup: str, name: str) -> Extract:
    """Title, text and structure of a page; the text may be empty.

    Raises DocumentEmpty for what holds no element, DocumentUnreadable for one nested too deep.
    """
    root = _parse(markup, name)
    title = _title(root)
    etree.strip_elements(root, *_INVISIBLE, *_AROUND_THE_CONTENT, with_tail=False)
    layout = lay_out(root)
    if not layout.text:
        # Some sites wrap the whole page in one <form> or <header>.
        layout = lay_out_fragment(markup, name)
    return Extract(title, layout.text, headings=layout.headings, blocks=layout.blocks)


def lay_out_fragment(markup: str, name: str) -> Layout:
    """The layout of all that is visible, furniture included; errors as in `extract_page`."""
    root = _parse(markup, name)
    etree.strip_elements(root, *_INVISIBLE, with_tail=False)
    return lay_out(root)


def _parse(markup: str, name: str) -> HtmlElement:
    # As bytes: lxml refuses a str with an encoding declaration. Huge: 2,048 levels instead of 256.
    parser = HTMLParser(encoding="utf-8", huge_tree=True)
    try:
        root = document_fromstring(markup.encode(), parser=parser)
    except etree.LxmlError as error:
        raise DocumentEmpty(f"{name}: holds no HTML elements and no text") from error
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        # libxml2 has left out the rest without a word.
        raise DocumentUnreadable(f"{name}: elements are nested more than 2,048 deep; save the page as text first")
    return root


def _title(root: HtmlElement) -> str:
    for path in (".//head/title", ".//h1"):
        found = root.find(path)
        if found is not None and (title := "".join(found.itertext()).strip()):
            return title
    return ""
