import pytest

from core.schemas import Block, Document, Heading
from pipelines.ingestion.outline import Outline

TEXT = """Before.

# One

Text of one.

## Two
### Three

Text of three.

| a table |
| of two lines |

# Empty

# Four
====

Text of four.
"""


def at(line: str) -> int:
    return TEXT.index(line)


def heading(line: str, level: int | None = None) -> Heading:
    signs = line[: len(line) - len(line.lstrip("#"))]
    return Heading(start=at(line), level=level or len(signs), text=line.lstrip("# "))


HEADINGS = (heading("# One"), heading("## Two"), heading("### Three"), heading("# Empty"), heading("# Four"))
TABLE = Block(start=at("| a table"), end=at("\n# Empty"), kind="table")


def outline(headings: tuple[Heading, ...] = HEADINGS, blocks: tuple[Block, ...] = (TABLE,), longest: int = 1_000) -> Outline:
    return Outline(Document(id="d", text=TEXT, headings=headings, blocks=blocks), lambda text: len(text) <= longest)


def texts(spans: list[tuple[int, int]]) -> list[str]:
    return [TEXT[start:end].strip() for start, end in spans]


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("Before", ()),
        ("# One", ("One",)),
        ("Text of one", ("One",)),
        ("## Two", ("One", "Two")),
        ("Text of three", ("One", "Two", "Three")),
        ("# Empty", ("Empty",)),
        ("Text of four", ("Four",)),
    ],
)
def test_a_character_stands_under_the_headings_above_it(place, path):
    assert outline().path_at(at(place)) == path


def test_a_heading_without_text_closes_a_section_and_names_none():
    headings = (heading("# One"), Heading(start=at("## Two"), level=1, text=" "), Heading(start=at("# Four"), level=2, text="a\n b"))
    assert outline(headings).path_at(at("Text of three")) == ()
    assert outline(headings).path_at(at("Text of four")) == ("a b",)


def test_the_strongest_borders_cut_first():
    parts, of_sections = outline().parts((0, len(TEXT)))
    assert texts(parts) == ["Before.", TEXT[at("# One") : at("# Empty")].strip(), "# Empty", TEXT[at("# Four") :].strip()]
    assert of_sections


def test_a_heading_right_below_another_begins_no_part():
    parts, _ = outline().parts((at("# One"), at("# Empty")))
    assert texts(parts) == [TEXT[at("# One") : at("## Two")].strip(), TEXT[at("## Two") : at("# Empty")].strip()]


def test_blocks_are_parts_of_a_section():
    parts, of_sections = outline().parts((at("## Two"), at("# Empty")))
    assert texts(parts) == ["## Two\n### Three\n\nText of three.", "| a table |\n| of two lines |", ""]
    assert not of_sections


def test_what_has_no_border_is_one_part():
    span = (at("Before"), at("# One"))
    assert outline().parts(span) == ([span], False)
    assert outline((), ()).parts((0, len(TEXT))) == ([(0, len(TEXT))], False)


@pytest.mark.parametrize(("start", "body"), [("# One", "Text of one"), ("## Two", "Text of three"), ("# Four", "Text of four")])
def test_the_text_of_a_section_begins_below_its_headings(start, body):
    assert outline().body_of(at(start)) == at(body)


@pytest.mark.parametrize("place", ["Before", "Text of one", "Text of four"])
def test_a_place_within_the_text_is_its_own_body(place):
    assert outline().body_of(at(place)) == at(place)


def test_the_section_under_an_empty_one_of_the_same_level_is_not_its_text():
    assert outline().body_of(at("# Empty")) == at("# Four")
    assert texts(outline().parts((at("# Empty"), len(TEXT)))[0])[0] == "# Empty"


def test_a_block_right_below_a_heading_is_its_body_and_no_part_of_its_own():
    block = Block(start=at("Text of one"), end=at("## Two"), kind="code")
    found = outline(blocks=(block,))
    assert found.body_of(at("# One")) == block.start
    assert found.parts((at("# One"), at("## Two"))) == ([(at("# One"), at("## Two"))], False)


def test_a_block_that_begins_without_a_word_is_the_body_all_the_same():
    text = "# One\n\n```\ncode\n```\n"
    block = Block(start=text.index("```"), end=len(text), kind="code")
    assert Outline(Document(id="d", text=text, headings=(HEADINGS[0].model_copy(update={"start": 0}),), blocks=(block,)), bool).body_of(0) == 7


def test_a_span_is_in_the_block_that_holds_all_of_it():
    assert outline().block_around((TABLE.start, TABLE.end)) == (TABLE.start, TABLE.end)
    assert outline().block_around((TABLE.start + 3, TABLE.start + 4)) == (TABLE.start, TABLE.end)
    assert outline().block_around((TABLE.start, TABLE.end + 1)) is None
    assert outline().block_around((0, 1)) is None


def test_headings_inside_a_block_cut_it_only_where_no_chunk_can_hold_it():
    around = Block(start=at("# One"), end=len(TEXT), kind="table")
    assert texts(outline(blocks=(around,)).parts((0, len(TEXT)))[0]) == ["Before.", TEXT[around.start :].strip()]
    assert outline(blocks=(around,)).block_around((at("# Four"), len(TEXT))) == (around.start, around.end)
    assert outline(blocks=(around,)).path_at(at("Text of four")) == ("Four",)
    torn = outline(blocks=(around,), longest=50)
    assert torn.block_around((at("# Four"), len(TEXT))) is None
    assert torn.parts((0, len(TEXT))) == outline(blocks=()).parts((0, len(TEXT)))


def test_empty_blocks_and_offsets_behind_the_text_do_no_harm():
    end = len(TEXT)
    found = outline((Heading(start=end, level=1, text="End"),), (Block(start=5, end=5, kind="code"), Block(start=end, end=end + 9, kind="code")))
    assert found.parts((0, end)) == ([(0, end)], False)
    assert found.path_at(end - 1) == ()
