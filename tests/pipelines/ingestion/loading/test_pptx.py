import pptx
import pytest

from core.errors import DocumentEmpty
from core.schemas import Document
from pipelines.ingestion.loading import load_bytes
from tests.pipelines.ingestion.loading import making


def load(content: bytes, limits) -> Document:
    [document] = load_bytes("talk.pptx", content, id="x", limits=limits)
    assert isinstance(document, Document)
    return document


def test_a_slide_is_a_page_with_title_text_tables_and_notes(limits):
    document = load(making.slides(), limits)
    first = "The first slide\n\nOne point\nAnother\n\nNotes: Smile here."
    assert document.text == f"{first}\n\nFigures\n\nYear | Metres\n1919 | 445\n\nIn a group"
    assert document.page_starts == (0, len(first) + 2, len(first) + 2)
    assert [(heading.start, heading.text) for heading in document.headings] == [(0, "The first slide"), (len(first) + 2, "Figures")]
    assert [document.text[block.start : block.end] for block in document.blocks] == ["Year | Metres\n1919 | 445"]
    assert document.metadata == {"source": "talk.pptx", "format": "pptx"}


@pytest.mark.parametrize(("given", "title"), [("Our talk", "Our talk"), ("", "The first slide"), ("PowerPoint Presentation", "The first slide")])
def test_the_title_is_the_files_own_else_the_first_slides(limits, given, title):
    assert load(making.slides(title=given), limits).title == title


def test_slides_without_text_are_empty(limits):
    show = pptx.Presentation()
    show.slides.add_slide(show.slide_layouts[6])
    with pytest.raises(DocumentEmpty):
        load(making.saved(show), limits)


def test_blank_slides_at_the_end_begin_inside_the_text(limits):
    show = pptx.Presentation()
    show.slides.add_slide(show.slide_layouts[5]).shapes.title.text = "Only"
    show.slides.add_slide(show.slide_layouts[6])
    assert load(making.saved(show), limits).page_starts == (0, 4)
