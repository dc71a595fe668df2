"""What splitting promises of headings, sections, tables and code."""

from itertools import accumulate, pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.schemas import Block, Chunk, Document, EncoderInfo, Heading
from core.settings import IngestionSettings
from pipelines.ingestion.splitting import TokenSplitter
from pipelines.ingestion.window import EncoderWindow

Piece = tuple[str, int]
"""What it is (heading, rule: an underlined heading, prose, code, table, or page: a table around everything) and its level or length."""

NAMES = ["Rice", "Wooden boxes", "駅弁", "The first line", "1872"]
KINDS = ["heading", "heading", "heading", "rule", "prose", "prose", "code", "table", "blank"]
PIECES = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 30)), min_size=1, max_size=14)


def written(kind: str, number: int) -> str:
    match kind:
        case "heading":
            return f"{'#' * (number % 4 + 1)} {NAMES[number % 5]}\n\n"
        case "rule":
            return f"{NAMES[number % 5]}\n=====\n"
        case "prose":
            return "It is sold at the station, in a box. " * (number % 12 + 1) + "\n\n"
        case "code":
            return "".join(f"    train[{line}] = stop\n" for line in range(number)) + "\n"
        case "table":
            return "".join(f"| Utsunomiya | {line} sen |\n" for line in range(number))
    return "\n" * (number % 3)


def compose(pieces: list[Piece], title: str = "") -> Document:
    texts = [written(*piece) for piece in pieces]
    starts = list(accumulate(map(len, texts), initial=0))
    headings = [
        Heading(start=start, level=number % 4 + 1 if kind == "heading" else 1, text=NAMES[number % 5])
        for (kind, number), start in zip(pieces, starts, strict=False)
        if kind in {"heading", "rule"}
    ]
    blocks = [
        Block(start=start, end=start + len(text), kind=kind)
        for (kind, _), start, text in zip(pieces, starts, texts, strict=False)
        if kind in {"code", "table"}
    ]
    return Document(id="d", title=title, text="".join(texts), headings=headings, blocks=blocks)


DOCUMENTS = PIECES.filter(lambda pieces: {kind for kind, _ in pieces} != {"blank"}).map(compose)


@pytest.fixture(scope="module")
def splitter(any_encoder: EncoderInfo, limits: IngestionSettings) -> TokenSplitter:
    return TokenSplitter(any_encoder, limits.model_copy(update={"chunk_tokens": 96}))


@pytest.fixture(scope="module")
def wordpiece(encoder: EncoderInfo, limits: IngestionSettings) -> TokenSplitter:
    return TokenSplitter(encoder, limits.model_copy(update={"chunk_tokens": 64}))


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())


def fits(window: EncoderWindow, document: Document, start: int, end: int) -> bool:
    start, end = trimmed(document.text, start, end)
    path, text = naive_path(document, start), document.text[start:end]
    exact = window.count([window.passage_text(document.title, path, text)])[0]
    return exact <= window.tokens and window.estimate(text) <= window.room(document.title, path, text)


def is_whole(chunks: tuple[Chunk, ...], text: str, start: int, end: int) -> bool:
    start, end = trimmed(text, start, end)
    return any(chunk.start <= start and end <= chunk.end for chunk in chunks)


def naive_path(document: Document, offset: int) -> tuple[str, ...]:
    above = [heading for heading in document.headings if heading.start <= offset]
    open_ones = [one for place, one in enumerate(above) if all(later.level > one.level for later in above[place + 1 :])]
    return tuple(heading.text for heading in open_ones)


def texts_under(document: Document) -> list[tuple[int, int, Heading | None]]:
    """(start of a heading, start of what stands under it, that if it is a heading); none for the heading of an empty section."""
    found = []
    for heading, after in pairwise([*document.headings, None]):
        assert heading is not None
        line_end = document.text.index("\n", heading.start)
        if document.text.startswith("\n====", line_end):
            line_end += 6
        below = line_end + len(document.text[line_end:]) - len(document.text[line_end:].lstrip())
        is_next = after is not None and below >= after.start
        if below < len(document.text) and not (after is not None and is_next and after.level <= heading.level):
            found.append((heading.start, below, after if is_next else None))
    return found


STRUCTURED = settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])


@STRUCTURED
@given(DOCUMENTS)
def test_chunks_of_a_structured_document_are_sound(splitter, document):
    chunks = splitter.split(document)
    assert splitter.split(document) == chunks
    assert all(document.text[chunk.start : chunk.end] == chunk.text == chunk.text.strip() != "" for chunk in chunks)
    assert all(one.start < other.start and one.end < other.end for one, other in pairwise(chunks))
    covered = set().union(*(range(chunk.start, chunk.end) for chunk in chunks))
    assert all(place in covered for place, char in enumerate(document.text) if not char.isspace())
    passages = [splitter.window.passage_text(document.title, chunk.headings, chunk.text) for chunk in chunks]
    assert max(splitter.window.count(passages)) <= splitter.window.tokens


@STRUCTURED
@given(DOCUMENTS)
def test_a_chunk_knows_the_path_of_the_section_it_begins_in(splitter, document):
    for chunk in splitter.split(document):
        assert chunk.headings == naive_path(document, chunk.start)


@STRUCTURED
@given(DOCUMENTS)
@example(compose([("heading", 4), ("prose", 11)]))
@example(compose([("prose", 3), ("heading", 4), ("table", 30)]))
def test_a_heading_is_not_the_last_of_a_chunk_where_its_text_follows(splitter, document):
    chunks = splitter.split(document)
    for start, below, subheading in texts_under(document):
        block = next((block for block in document.blocks if trimmed(document.text, block.start, block.end)[0] == below), None)
        parted = block is not None and fits(splitter.window, document, block.start, block.end)
        if not parted and subheading is None:
            assert any(chunk.start <= start and below < chunk.end for chunk in chunks)
        elif not parted:
            assert all(chunk.end > below for chunk in chunks if chunk.start <= start < chunk.end)


@STRUCTURED
@given(DOCUMENTS)
@example(compose([("heading", 4), ("prose", 5), ("table", 5), ("prose", 11), ("code", 6), ("code", 5)]))
def test_tables_and_code_that_fit_are_whole_and_others_are_cut_between_lines(splitter, document):
    chunks = splitter.split(document)
    for block in document.blocks:
        start, end = trimmed(document.text, block.start, block.end)
        if fits(splitter.window, document, start, end):
            assert is_whole(chunks, document.text, start, end)
        for chunk in chunks:
            assert not start < chunk.start < end or document.text[: chunk.start].rstrip(" ").endswith("\n")
            assert not start < chunk.end < end or document.text[chunk.end] == "\n"


@STRUCTURED
@given(DOCUMENTS)
def test_a_section_that_fits_is_whole(wordpiece, document):
    chunks = wordpiece.split(document)
    under = {subheading.start for _, _, subheading in texts_under(document) if subheading}
    for place, heading in enumerate(document.headings):
        end = next((one.start for one in document.headings[place + 1 :] if one.level <= heading.level), len(document.text))
        if heading.start not in under and fits(wordpiece.window, document, heading.start, end):
            assert is_whole(chunks, document.text, heading.start, end)


@STRUCTURED
@given(DOCUMENTS)
def test_a_chunk_that_reaches_into_another_section_begins_with_one(splitter, document):
    starts = {trimmed(document.text, heading.start, len(document.text))[0] for heading in document.headings}
    first = trimmed(document.text, 0, len(document.text))[0]
    for chunk in splitter.split(document):
        assert chunk.start in starts | {first} or not any(chunk.start < start < chunk.end for start in starts)


def test_small_sections_share_a_chunk_and_large_ones_are_cut_apart(wordpiece):
    document = compose([("heading", 4), *([("heading", 5), ("prose", 1)] * 4), ("heading", 4), ("prose", 1)])
    starts = [heading.start for heading in document.headings]
    assert [chunk.start for chunk in wordpiece.split(document)] == [starts[0], starts[3], starts[5]]


def test_a_paragraph_may_share_the_chunk_of_the_table_it_announces(wordpiece):
    document = compose([("prose", 6), ("table", 3)])
    last = wordpiece.split(document)[-1]
    assert last.start < document.blocks[0].start
    assert last.end == len(document.text) - 1


def test_code_that_fits_without_its_heading_only_is_whole_without_it(wordpiece):
    document = compose([("heading", 2), ("code", 10)])
    heading, code = wordpiece.split(document)
    assert (heading.text, heading.headings) == ("### 駅弁", ("駅弁",))
    assert (code.text, code.headings) == (written("code", 10).strip(), ("駅弁",))


def test_room_is_kept_for_the_heading_of_a_section_that_is_cut(wordpiece):
    document = compose([("heading", 2), ("code", 20)])
    sizes = [wordpiece.window.estimate(chunk.text) for chunk in wordpiece.split(document)]
    assert sizes == [5 + 9 * 6, 9 * 6, 2 * 6]


def test_code_that_is_cut_does_not_overlap(wordpiece):
    chunks = wordpiece.split(compose([("code", 30)]))
    assert len(chunks) > 2
    assert all(one.end < other.start for one, other in pairwise(chunks))


def test_headings_longer_than_a_chunk_are_cut(splitter):
    name = "A heading that goes on " * 40
    document = Document(id="d", text=f"{name}\nText. " * 3, headings=[Heading(start=0, level=1, text=name.strip())])
    chunks = splitter.split(document)
    assert len(chunks) > 3
    assert max(splitter.window.count([splitter.window.passage_text("", chunk.headings, chunk.text) for chunk in chunks])) <= splitter.window.tokens


def test_a_line_that_is_heading_and_code_at_once_is_cut_all_the_same(wordpiece):
    text = "a heading without end " * 30
    headings, blocks = [Heading(start=0, level=1, text="a")], [Block(start=len(text) - 1, end=len(text) + 9, kind="code")]
    chunks = wordpiece.split(Document(id="d", text=f"{text.strip()}more code.", headings=headings, blocks=blocks))
    assert chunks[-1].text.endswith("more code.")
    assert max(wordpiece.window.count([wordpiece.window.passage_text("", chunk.headings, chunk.text) for chunk in chunks])) <= 64


@pytest.mark.parametrize("title", ["", "Ekiben", "A title that goes on " * 40])
@pytest.mark.parametrize("tokens", [16, 17, 40])
def test_small_chunks_fit_under_long_titles_and_paths(any_encoder, limits, title, tokens):
    splitter = TokenSplitter(any_encoder, limits.model_copy(update={"chunk_tokens": tokens}))
    pieces = [("heading", 4), ("heading", 5), ("prose", 7), ("heading", 6), ("table", 4), ("heading", 7), ("code", 5)]
    document = compose(pieces, title)
    chunks = splitter.split(document)
    passages = splitter.window.count([splitter.window.passage_text(title, chunk.headings, chunk.text) for chunk in chunks])
    assert max(passages) <= tokens


HOSTILE = {
    "one line": [("漢字仮名交" * 20_000, None)],
    "one line of words": [("word and more " * 10_000, None)],
    "empty sections": [(f"# h{n}\n", 1) for n in range(10_000)],
    "sections of a word": [(f"# h{n}\nword\n", n % 9 + 1) for n in range(10_000)],
    "sections within sections, upwards": [(f"# h{n}\n", 9 - n % 9) for n in range(10_000)],
    "one section above all": [("# h\n", 1), *((f"# h{n}\n", 2) for n in range(10_000))],
    "code of a line": [(f"line {n}\n", "code") for n in range(10_000)],
    "a table of many lines": [("| a | b |\n" * 20_000, "table")],
    "a blank table": [("# h\n", 1), ("\n" * 100_000, "table"), ("a", None)],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_work_grows_with_the_text_and_not_with_its_square(encoder, limits, monkeypatch, name):
    counted = 0
    estimate, count = EncoderWindow.estimate, EncoderWindow.count

    def watched_estimate(self: EncoderWindow, text: str) -> int:
        nonlocal counted
        counted += len(text)
        return estimate(self, text)

    def watched_count(self: EncoderWindow, texts: list[str]) -> list[int]:
        nonlocal counted
        counted += sum(map(len, texts))
        return count(self, texts)

    monkeypatch.setattr(EncoderWindow, "estimate", watched_estimate)
    monkeypatch.setattr(EncoderWindow, "count", watched_count)
    texts = [text for text, _ in HOSTILE[name]]
    starts = list(accumulate(map(len, texts), initial=0))
    placed = [(start, start + len(text), what) for (text, what), start in zip(HOSTILE[name], starts, strict=False)]
    headings = [Heading(start=start, level=what, text="h") for start, _, what in placed if isinstance(what, int)]
    blocks = [Block(start=start, end=end, kind=what) for start, end, what in placed if isinstance(what, str)]
    TokenSplitter(encoder, limits.model_copy(update={"chunk_tokens": 256})).split(
        Document(id="d", text="".join(texts), headings=headings, blocks=blocks)
    )
    assert counted < 25 * len("".join(texts))
