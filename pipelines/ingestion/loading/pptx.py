"""PowerPoint presentations: a slide is a page."""

import zipfile
from collections.abc import Iterator

from lxml import etree  # type: ignore[import-untyped]
from pptx import Presentation
from pptx.exc import PythonPptxError
from pptx.shapes.base import BaseShape
from pptx.shapes.group import GroupShape
from pptx.slide import Slide

from core.errors import DocumentUnreadable
from core.settings import IngestionSettings
from pipelines.ingestion.loading.composing import Composition
from pipelines.ingestion.loading.office import clean_package, title_of
from pipelines.ingestion.loading.source import Extract, Source, finish
from pipelines.ingestion.refusing import Loaded

# What python-pptx raises over parts that are missing or not what they say. Found by fuzzing; tests go on with it.
_MALFORMED = (
    PythonPptxError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    etree.LxmlError,
    zipfile.BadZipFile,
)


def load(source: Source, limits: IngestionSettings) -> list[Loaded]:
    """One document: of each slide its title, texts and tables, then the speaker's notes. Text in pictures and diagrams is not read.

    Its title is that of the properties, else the first slide's that has one.
    """
    package = clean_package(source, "presentationml", limits)
    title = title_of(package, source)
    composition = Composition(source, limits)
    try:
        for slide in Presentation(package).slides:
            composition.begin_page()
            _add_slide(composition, slide)
    except _MALFORMED as error:
        raise DocumentUnreadable(f"{source}: not a PowerPoint file, or a damaged one ({type(error).__name__}: {error})") from error
    return [finish(source, "pptx", _titled(composition, title), limits)]


def _titled(composition: Composition, title: str) -> Extract:
    # "PowerPoint Presentation" is what the program fills in by itself.
    own = "" if title == "PowerPoint Presentation" else title
    return composition.finished(own or next((heading.text for heading in composition.headings), ""))


def _add_slide(composition: Composition, slide: Slide) -> None:
    title = slide.shapes.title
    if title is not None:
        composition.add_heading(1, title.text_frame.text)
    for shape in _leaves(slide.shapes):
        if title is None or shape.shape_id != title.shape_id:
            _add_shape(composition, shape)
    if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None and notes.text.strip():
        composition.add_text(f"Notes: {notes.text}")


def _leaves(shapes: object) -> Iterator[BaseShape]:
    for shape in shapes:  # type: ignore[attr-defined]
        if isinstance(shape, GroupShape):
            yield from _leaves(shape.shapes)
        else:
            yield shape


def _add_shape(composition: Composition, shape: BaseShape) -> None:
    if shape.has_text_frame:
        composition.add_text(shape.text_frame.text)  # type: ignore[attr-defined]
    elif getattr(shape, "has_table", False):
        composition.add_table([cell.text for cell in row.cells] for row in shape.table.rows)  # type: ignore[attr-defined]
