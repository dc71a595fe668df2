"""Headings and blocks stand exactly where the text says, in every format that has them."""

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DocumentEmpty
from core.schemas import Document
from pipelines.ingestion.loading import load_bytes
from pipelines.ingestion.normalizing import normalize, normalize_document
from tests.pipelines.ingestion.loading import making

WORDS = st.text(st.sampled_from("abcdé한\u0301'"), min_size=1, max_size=6).map(lambda word: "x" + word)
LINES = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)
PARTS = st.lists(
    st.one_of(
        st.tuples(st.just("heading"), st.integers(1, 6), LINES),
        st.tuples(st.just("text"), st.just(0), LINES),
        st.tuples(st.just("table"), st.just(0), LINES),
        st.tuples(st.just("code"), st.just(0), LINES),
        st.tuples(st.just("list"), st.just(0), LINES),
    ),
    min_size=1,
    max_size=8,
)


def _bare(text: str) -> str:
    """The words of `text`, without the marks of headings and lists before them."""
    return " ".join(text.replace("*", "").split()).lstrip("#+ ")


def check(document: Document) -> None:
    """What holds for every document."""
    begins = [heading.start for heading in document.headings]
    assert begins == sorted(set(begins))
    for heading in document.headings:
        assert heading.start == 0 or document.text[heading.start - 1] == "\n"
        assert _bare(document.text[heading.start : heading.start + 2_000]).startswith(_bare(heading.text))
    bounds = [bound for block in document.blocks for bound in (block.start, block.end)]
    assert bounds == sorted(bounds)
    assert all(0 <= block.start < block.end <= len(document.text) for block in document.blocks)
    for block in document.blocks:
        assert block.start == 0 or document.text[block.start - 1] == "\n"
        assert document.text[block.end : block.end + 1] in {"", "\n"}
        assert document.text[block.start : block.end].strip()
    assert normalize_document(document) == document


def load(name: str, content: bytes, limits) -> Document:
    [document] = load_bytes(name, content, id="x", limits=limits)
    assert isinstance(document, Document)
    check(document)
    return document


def in_markdown(kind: str, level: int, line: str) -> str:
    return {
        "heading": f"{'#' * level} {line}",
        "text": line,
        "table": f"| {line} | b |\n|---|---|\n| 1 | {line} |",
        "code": f"```\n{line}\n\n# {line}\n```",
        "list": f"- {line}",
    }[kind]


def in_html(kind: str, level: int, line: str) -> str:
    line = html.escape(line)
    return {
        "heading": f"<h{level}>{line}</h{level}>",
        "text": f"<div>{line}<br><br><br>{line}</div>",
        "table": f"<table><tr><th>{line}</th><td>b</td></tr><tr><td>1</td><td>{line}<br>x</td></tr></table>",
        "code": f"<pre>\n  {line}\n\n\n  {line}</pre>",
        "list": f"<ul><li>{line}</li></ul>",
    }[kind]


@given(PARTS)
def test_markdown(limits, parts):
    document = load("a.md", "\n\n".join(in_markdown(*part) for part in parts).encode(), limits)
    assert [(heading.level, heading.text) for heading in document.headings] == [
        (level, normalize(line)) for kind, level, line in parts if kind == "heading"
    ]
    assert [block.kind for block in document.blocks] == [kind for kind, _, _ in parts if kind in {"table", "code"}]


@given(PARTS)
def test_html(limits, parts):
    document = load("a.html", "".join(in_html(*part) for part in parts).encode(), limits)
    assert [(heading.level, heading.text) for heading in document.headings] == [
        (level, normalize(line)) for kind, level, line in parts if kind == "heading"
    ]
    assert [block.kind for block in document.blocks] == [kind for kind, _, _ in parts if kind in {"table", "code"}]


TAGS = ["h1", "h2", "h6", "table", "tr", "td", "pre", "ul", "ol", "li", "p", "div", "blockquote", "a", "br", "h1 style='display:inline'"]
SOUP = st.sampled_from(
    [*(f"<{tag}>" for tag in TAGS), *(f"</{tag.split()[0]}>" for tag in TAGS), "text", "e\u0301\n", " ", "&#13;", "&nbsp;", "1. ", "\x7f"]
)


@given(st.lists(SOUP, min_size=1, max_size=40).map("".join))
def test_any_markup(limits, markup):
    try:
        load("a.html", markup.encode(), limits)
    except DocumentEmpty:
        return


@given(
    st.lists(
        st.sampled_from(["# a", "## b c", "a\n===", "```", "~~~", "    x", "| a | b |", "|---|---|", "- x", "> # q", "", "\t", "text", "  ", "1. a"])
    )
)
def test_any_markdown(limits, lines):
    load("a.md", "\n".join(["x", *lines]).encode(), limits)


@pytest.mark.parametrize("suffix", [".docx", ".pptx", ".xlsx", ".epub", ".csv"])
def test_packed_formats(limits, suffix):
    document = load(f"a{suffix}", making.examples()[suffix], limits)
    assert document.blocks
    assert document.headings or suffix == ".csv"


@pytest.mark.parametrize(
    ("markup", "headings", "blocks"),
    [
        ("<ul><li><h2>1. In a list</h2>text</li></ul>", ["1. In a list"], []),
        ("<h1>A<br>B</h1>", ["A B"], []),
        ("<h1></h1><h2> </h2><p>text", [], []),
        ("<table><tr><td><h2>Left</h2></td><td><table><tr><td>x</td></tr></table></td></tr></table>", [], []),
        ("<table><tr><td><pre>x</pre></td></tr></table>", [], []),
        ("<table><tr><td><p>a</p><p>b</p></td><td><p>c</p></td></tr><tr><td><p>d</p></td></tr></table>", [], ["a  c\nb\nd"]),
        ("<div>before <h1 style='display:inline'>Inside</h1> after</div>", [], []),
        ("<p>one</p><pre>\n a\n\n\n b\n\n</pre><p>two</p>", [], [" a\n\n b"]),
    ],
)
def test_what_counts_in_html(limits, markup, headings, blocks):
    document = load("a.html", markup.encode(), limits)
    assert [heading.text for heading in document.headings] == headings
    assert [document.text[block.start : block.end] for block in document.blocks] == blocks


@pytest.mark.parametrize(
    ("markdown", "headings", "blocks"),
    [
        ("---\ntitle: x\n---\n# After *the* front\n\ntext", [(17, "After the front")], []),
        ("Two\nlines\n=====\n\ntext", [(0, "Two lines")], []),
        ("> # Quoted\n\n- # Listed\n\ntext", [], []),
        ("- step\n\n  ```\n  code\n  ```\n", [], ["  ```\n  code\n  ```"]),
        ("x\n\n    a\n\n    b\n\n\ny", [], ["    a\n\n    b"]),
        ("```\nnever closed\n\n", [], ["```\nnever closed"]),
        ("#\n\n## ![](x.png)\n\ntext", [], []),
    ],
)
def test_what_counts_in_markdown(limits, markdown, headings, blocks):
    document = load("a.md", markdown.encode(), limits)
    assert [(heading.start, heading.text) for heading in document.headings] == headings
    assert [document.text[block.start : block.end] for block in document.blocks] == blocks
