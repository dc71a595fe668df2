import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import DocumentEmpty
from core.schemas import MAX_TITLE_CHARS
from pipelines.ingestion.loading import load_bytes


def title_of(markdown: str, limits) -> str:
    [document] = load_bytes("some-notes.md", markdown.encode(), id="x", limits=limits)
    assert document.text == markdown
    assert document.metadata == {"source": "some-notes.md", "format": "markdown"}
    return document.title


@pytest.mark.parametrize(
    ("markdown", "title"),
    [
        ("# The Seikan Tunnel\n\ntext", "The Seikan Tunnel"),
        ("text\n\n## Later *heading* with `code` and [link](x)\n", "Later heading with code and link"),
        ("Setext\n======\n\ntext", "Setext"),
        ("```\n# in a fence\n```\n\n# Real", "Real"),
        ("#\n\n## Second", "Second"),
        ("# ![image](x.png) <b>Bold</b>", "image Bold"),
        ("no heading", "some notes"),
        ("---\ntitle: From the front\nlayout: x\n---\n# Heading\n", "From the front"),
        ("---\ntitle: 1872\n---\ntext", "1872"),
        ("---\ntitle: [a, list]\n---\n# Heading", "Heading"),
        ("---\n- a list\n---\n# Heading", "Heading"),
        ("---\ndate: 2024-13-45\ntitle: x\n---\n# Heading", "Heading"),
        ("---\ntitle: 'open\n---\n# Heading", "Heading"),
        ("---\n\n# After a rule", "After a rule"),
        ("# " + "long " * 400, ("long " * 400)[:MAX_TITLE_CHARS].strip()),
    ],
)
def test_the_title_is_the_front_matters_else_the_first_heading_else_the_stem(limits, markdown, title):
    assert title_of(markdown, limits) == title


@given(st.text(st.sampled_from("#->*_`[](){}<>!|~\n :&\\a1é\t'\""), min_size=1, max_size=80).map(lambda text: "x" + text))
@example(">" * 5_000 + " deep")
@example("- " * 5_000 + "deep")
@example("# " + "[" * 5_000)
@example("---\n" + "[" * 2_900 + "\n---\nx")
@example("---\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n---\nx")
def test_any_markdown_has_a_title_on_one_line(limits, markdown):
    title = title_of(markdown, limits)
    assert title.strip()
    assert "\n" not in title


def test_the_source_is_kept_but_for_line_ends(limits):
    [document] = load_bytes("a.md", b"# Head\r\n\r\n| a | b |\r\n", id="x", limits=limits)
    assert document.text == "# Head\n\n| a | b |\n"


def test_blank_markdown_is_empty(limits):
    with pytest.raises(DocumentEmpty):
        load_bytes("a.md", "\ufeff \n".encode(), id="x", limits=limits)
