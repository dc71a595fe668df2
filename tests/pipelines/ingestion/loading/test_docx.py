from core.schemas import Block, Document, Heading
from pipelines.ingestion.loading import load_bytes
from tests.pipelines.ingestion.loading import making


def load(content: bytes, limits) -> Document:
    [document] = load_bytes("hakone-line.docx", content, id="x", limits=limits)
    assert isinstance(document, Document)
    return document


def test_text_headings_and_tables_are_kept(limits):
    document = load(making.word(), limits)
    assert document.title == "The Hakone line"
    assert document.text == "Hakone\n\nThe climb\n\nIt climbs steeply.\n\nYear  Metres\n1919  445\n\nThe turns\n\n  * Three of them"
    assert document.headings == (
        Heading(start=0, level=1, text="Hakone"),
        Heading(start=8, level=1, text="The climb"),
        Heading(start=63, level=2, text="The turns"),
    )
    assert document.blocks == (Block(start=39, end=61, kind="table"),)
    assert document.metadata == {"source": "hakone-line.docx", "format": "docx"}


def test_without_a_title_in_the_properties_the_first_heading_is_it(limits):
    assert load(making.word(title=""), limits).title == "Hakone"


def test_styles_in_the_file_do_not_change_how_it_is_read(limits):
    parts = making.unzipped(making.word())
    assert load(making.zipped({**parts, "mammoth/style-map": "p => h1"}), limits) == load(making.word(), limits)


def test_a_file_without_properties_is_read(limits):
    parts = making.unzipped(making.word())
    del parts["docProps/core.xml"]
    assert load(making.zipped(parts), limits).title == "Hakone"


def test_marks_of_the_page_itself_are_not_ours(limits):
    """The attribute that marks headings may stand in the file already."""
    [document] = load_bytes("a.html", b"<p data-ekiben-mark='h1'>text</p>", id="x", limits=limits)
    assert document.headings == ()
