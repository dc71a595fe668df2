import pytest

from pipelines.ingestion.loading import load_bytes


@pytest.mark.parametrize(
    ("name", "content", "title"),
    [
        ("usui_pass-1893.txt", "\n  THE USUI PASS \n\nA steep line.", "THE USUI PASS"),
        ("usui_pass-1893.txt", "x" * 121 + "\nshort", "usui pass 1893"),
        ("a.txt", "x" * 120, "x" * 120),
    ],
)
def test_a_short_first_line_is_the_title_else_the_stem(limits, name, content, title):
    [document] = load_bytes(name, content.encode(), id="x", limits=limits)
    assert document.title == title
    assert document.text == content


def test_a_text_has_no_pages(limits):
    [document] = load_bytes("a.txt", b"text", id="x", limits=limits)
    assert document.page_starts == ()
