"""Word documents. Mammoth makes HTML of them by their styles; the layout is that of web pages."""

import zipfile
from xml.parsers.expat import ExpatError

import mammoth  # type: ignore[import-untyped]

from core.errors import DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading.html import lay_out_fragment
from pipelines.ingestion.loading.office import clean_package, title_of
from pipelines.ingestion.loading.source import Extract, Source, finish
from pipelines.ingestion.refusing import Loaded

# Word shows them as headings; mammoth's own table leaves them plain paragraphs.
_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Heading 7'] => h6:fresh
p[style-name='Heading 8'] => h6:fresh
p[style-name='Heading 9'] => h6:fresh
"""

# What mammoth raises over parts that are missing or not what they say. Found by fuzzing; tests go on with it.
_MALFORMED = (ArithmeticError, AttributeError, ExpatError, LookupError, OSError, RecursionError, TypeError, ValueError, zipfile.BadZipFile)


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """One document with footnotes and endnotes at its end; headers, footers, comments and deleted text are left out.

    Its title is that of the properties, else the first heading.
    """
    package = clean_package(source, "wordprocessingml", limits)
    title = title_of(package, source)
    try:
        markup = mammoth.convert_to_html(package, style_map=_STYLES, include_embedded_style_map=False, convert_image=_no_image).value
    except _MALFORMED as error:
        raise DocumentUnreadable(f"{source}: not a Word document, or a damaged one ({type(error).__name__}: {error})") from error
    layout = lay_out_fragment(markup, str(source))
    first = next((heading.text for heading in layout.headings), "")
    return [finish(source, "docx", Extract(title or first, layout.text, headings=layout.headings, blocks=layout.blocks), limits)]


def _no_image(_: object) -> list[object]:
    return []
