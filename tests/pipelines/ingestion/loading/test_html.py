import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DocumentEmpty, DocumentError, DocumentUnreadable
from core.schemas import Document
from pipelines.ingestion.loading import load_bytes

PAGE = """<!DOCTYPE html><html><head><title>The
 Hakone line</title><style>p {}</style><script>var hidden = 1;</script></head>
<body><header>Site header <h1>Other</h1></header><nav><a href="/">Home</a></nav>
<main><h1>Hakone</h1><p>It climbs&nbsp;steeply.<!-- a comment --> Then <b>turns</b>.</p>
<table><tr><th>Year</th><th>Metres</th></tr><tr><td>1919</td><td>445</td></tr></table></main>
<aside>Related</aside><form><input value="x">Subscribe</form><noscript>No script</noscript><footer>Imprint</footer></body></html>"""


def load(markup: str | bytes, limits) -> Document:
    content = markup.encode() if isinstance(markup, str) else markup
    [document] = load_bytes("hakone-line.html", content, id="x", limits=limits)
    assert isinstance(document, Document)
    return document


def test_the_content_is_kept_and_the_furniture_is_not(limits):
    document = load(PAGE, limits)
    assert document.title == "The Hakone line"
    assert document.text == "Hakone\n\nIt climbs steeply. Then turns.\n\nYear  Metres\n1919  445"
    assert document.metadata == {"source": "hakone-line.html", "format": "html"}


@pytest.mark.parametrize(
    ("markup", "title"),
    [
        ("<h1>A <i>heading</i><!-- x --><?y z?></h1><p>text", "A heading"),
        ("<header><h1>In the header</h1></header><p>text", "In the header"),
        ("<title> </title><h1>Heading</h1>", "Heading"),
        ("<p>text", "hakone line"),
    ],
)
def test_the_title_falls_back_to_heading_and_stem(limits, markup, title):
    assert load(markup, limits).title == title


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>one<script>x</script> two</p>", "one two"),
        ("<p>one<?php x ?> two<!-- x --> three</p>", "one two three"),
        ("<nav>x</nav>after the menu", "after the menu"),
        ("<div>one<div>two<div>three</div></div></div>", "one\ntwo\nthree"),
        ("<p>one</p>\n\n<p><br><br><br></p>\n<p>two</p>", "one\n\ntwo"),
    ],
)
def test_the_layout_is_that_of_running_text(limits, markup, text):
    assert load(markup, limits).text == text


@pytest.mark.parametrize("around", ["form", "header"])
def test_a_page_wrapped_in_furniture_as_a_whole_is_kept(limits, around):
    assert load(f"<{around}><script>x</script><p>All there is.</p></{around}>", limits).text == "All there is."


@pytest.mark.parametrize(
    ("declaration", "encoding"),
    [
        ('<meta charset="iso-8859-1">', "latin-1"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS">', "shift_jis"),
        ('<?xml version="1.0" encoding="utf-8"?>', "utf-8"),
        ('<meta charset="iso-8859-1">', "utf-8"),
        ('<meta charset="no-such-encoding">', "utf-8"),
        ("", "utf-16"),
    ],
)
def test_the_encoding_is_found(limits, declaration, encoding):
    words = "駅弁は旅の楽しみである。" * 5 if encoding in {"shift_jis", "utf-8", "utf-16"} else "Frühstück für Gäste in Köln, süß und schön."
    assert words in load(f"{declaration}<html><body><p>{words}</p></body></html>".encode(encoding), limits).text


@pytest.mark.parametrize(
    "markup", ["<html></html>", "<script>x</script>", "<!-- nothing -->", "<title>Only a title</title>", "<p>&nbsp;</p>", "<!DOCTYPE html>"]
)
def test_a_page_without_text_is_empty(limits, markup):
    with pytest.raises(DocumentEmpty):
        load(markup, limits)


@pytest.mark.parametrize("depth", [300, 2_000])
@pytest.mark.parametrize("tag", ["div", "b", "q"])
def test_text_below_hundreds_of_levels_is_found(limits, depth, tag):
    assert "deep text" in load(f"<{tag}>" * depth + "deep text", limits).text


@pytest.mark.parametrize("depth", [5_000, 50_000])
@pytest.mark.parametrize("tag", ["div", "b", "table><tr><td"])
def test_what_is_too_deep_to_be_read_whole_is_refused(limits, depth, tag):
    with pytest.raises(DocumentUnreadable, match="nested"):
        load("<p>text</p>" + f"<{tag}>" * depth + "deep text", limits)


@pytest.mark.parametrize(
    "markup",
    [
        b"<p title='" + b"x" * 1_000_000 + b"'>text",
        b"<p " + b"a=b " * 100_000 + b">text",
        b"<p>text \xff\xfe\x80 &#xd800; &#0; &#x110000; &bogus;",
        b"text & < > </p></div></html> more",
        b"<![CDATA[ x ]]><svg><title>t</title></svg>text",
        b"<table><tr><td colspan=999999999 rowspan=-1>text</table>",
        b"<ol start=99999999999999999999><li>text</ol>",
        b"<p style='display:none; padding: 99999em'>x</p>text",
        b"<pre>\n text\n</pre>",
        b"<frameset><frame>text</frameset>",
        b"text",
    ],
)
def test_hostile_markup_gives_its_text(limits, markup):
    assert "text" in load(markup, limits).text


TAGS = ["p", "div", "table", "tr", "td", "ul", "ol", "li", "pre", "br", "title", "h1", "a", "form", "head", "body", "svg", "select", "template", "q"]
PARTS = st.sampled_from(
    [
        *(f"<{tag}>" for tag in TAGS),
        *(f"</{tag}>" for tag in TAGS),
        "text",
        "<",
        ">",
        "&#1;",
        "&lt;",
        "<!--",
        "-->",
        "<?x",
        "\x00",
        " ",
        "<td align=x valign=y>",
    ]
)


@given(st.lists(PARTS, min_size=1, max_size=30).map("".join))
def test_any_markup_ends_in_a_document_or_its_documented_error(limits, markup):
    try:
        document = load(markup, limits)
    except DocumentError as error:
        assert error.message.startswith("hakone-line.html: ")
    else:
        assert document.text == document.text.strip() != ""
        assert "\n\n\n" not in document.text
