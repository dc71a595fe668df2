from itertools import accumulate, pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from core.ports import Splits
from core.schemas import Chunk, CollectionSettings, Document, EncoderInfo, Heading, SplitDocument
from core.settings import IngestionSettings
from pipelines.ingestion.splitting import TokenSplitter, page_at

TEXT_UNITS = [
    "train ",
    "Yokohama. ",
    "駅弁",
    "漢字。",
    "👩‍👩‍👧‍👦",
    "🚄",
    "e\u0301",
    "\u0301",
    "한국어 ",
    ".,;!?",
    "-",
    "a",
    "x" * 300,
    "ﷺ",
    "\U000e0041",
]
BLANK_UNITS = ["\n", "\n\n", " \n", "\t", "   ", "\u200b", "\u00a0", "\x1c", "\x85"]
MARKDOWN_UNITS = ["# Heading\n\n", "- item\n", "| a | b |\n", "```\ncode\n```\n", "> quote\n"]
UNITS = st.sampled_from([*TEXT_UNITS, *BLANK_UNITS, *MARKDOWN_UNITS])
RUNS = st.lists(st.tuples(UNITS, st.integers(1, 60)), min_size=1, max_size=8).map(lambda runs: "".join(unit * times for unit, times in runs))
TEXTS = (st.text(min_size=1, max_size=300) | RUNS).filter(lambda text: text.strip() != "")
TITLES = st.sampled_from(["", "Ekiben", "駅弁の歴史", "A title that goes on " * 40, "x" * 900])


@pytest.fixture(scope="module")
def splitter(any_encoder: EncoderInfo, limits: IngestionSettings) -> TokenSplitter:
    return TokenSplitter(any_encoder, limits)


def split(splitter: TokenSplitter, text: str, title: str = "") -> tuple[Chunk, ...]:
    return splitter.split(Document(id="d", title=title, text=text))


def assert_sound(splitter: TokenSplitter, text: str, title: str, chunks: tuple[Chunk, ...]) -> None:
    """Everything that is promised of the chunks of any text."""
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert all(text[chunk.start : chunk.end] == chunk.text and chunk.text.strip() for chunk in chunks)
    assert all(one.start < other.start for one, other in pairwise(chunks))
    reached = [0, *accumulate((chunk.end for chunk in chunks), max)]
    gaps = [text[end:start] for end, start in zip(reached, [*(chunk.start for chunk in chunks), len(text)], strict=True)]
    assert not "".join(gaps).strip()
    passages = [splitter.window.passage_text(title, chunk.headings, chunk.text) for chunk in chunks]
    assert max(splitter.window.count(passages)) <= splitter.window.tokens


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(text=TEXTS, title=TITLES)
@example(text="x" * 50_000, title="Ekiben")
@example(text="漢字仮名交" * 3_000, title="")
@example(text="👩‍👩‍👧‍👦" * 2_000, title="")
@example(text=".,;!" * 3_000, title="")
@example(text="e" + "\u0301" * 5_000, title="")
@example(text="a" + " \n" * 20_000 + "b", title="")
@example(text="\t" * 3_000 + "a", title="")
@example(text="a\n" * 5_000, title="")
def test_chunks_are_sound_for_any_text(splitter, text, title):
    if splitter.encoder == "unigram" and "ﷺ" in text:
        text = text.replace("ﷺ", "f")  # one character, 18 tokens: see the test of what is larger than the window
    assert_sound(splitter, text, title, split(splitter, text, title))


@settings(max_examples=60)
@given(text=TEXTS, chunk_tokens=st.integers(16, 80), overlap=st.integers(0, 200))
def test_chunks_are_sound_for_any_limits(encoder, limits, text, chunk_tokens, overlap):
    splitter = TokenSplitter(encoder, limits.model_copy(update={"chunk_tokens": chunk_tokens, "overlap_tokens": overlap}))
    assert_sound(splitter, text, "Ekiben", split(splitter, text, "Ekiben"))


def test_a_tokenizer_that_joins_title_and_text_dearly_still_fits(encoder, limits):
    """Words cost one token apart, but three where they meet: no estimate sees that coming."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace("\n", " seam seam ")
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    encoder = encoder.model_copy(update={"tokenizer_json": tokenizer.to_str()})
    splitter = TokenSplitter(encoder, limits)
    text = "one two three four\n" * 60
    assert_sound(splitter, text, "Ekiben", split(splitter, text, "Ekiben"))


def test_what_is_larger_than_the_window_becomes_a_chunk_of_its_own(encoder, limits):
    """A single character can be cut no further; the encoder embeds such a passage by windows."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace("!", " bang" * 100)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    encoder = encoder.model_copy(update={"tokenizer_json": tokenizer.to_str()})
    chunks = split(TokenSplitter(encoder, limits), "a ! b")
    assert "!" in [chunk.text for chunk in chunks]


def test_a_text_that_made_the_library_panic_is_split(encoder, limits):
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    narrow = encoder.model_copy(update={"tokenizer_json": tokenizer.to_str(), "max_tokens": 8})
    splitter = TokenSplitter(narrow, limits)
    text = "éé```\nc\n```\n\x85\x85- i\n- i\n- i\naaa"
    assert_sound(splitter, text, "", split(splitter, text))


def test_chunks_share_the_overlap(encoder, limits):
    sentences = "".join(f"Sentence {n} is short. " for n in range(50))
    without = split(TokenSplitter(encoder, limits.model_copy(update={"overlap_tokens": 0})), sentences)
    shared = split(TokenSplitter(encoder, limits.model_copy(update={"overlap_tokens": 12})), sentences)
    assert all(one.end <= other.start for one, other in pairwise(without))
    assert all(one.end > other.start for one, other in pairwise(shared))


def test_chunks_use_the_room_they_have(encoder, limits):
    splitter = TokenSplitter(encoder, limits)
    chunks = split(splitter, "word " * 1_000, title="Ekiben")
    sizes = splitter.window.count([splitter.window.passage_text("Ekiben", (), chunk.text) for chunk in chunks])
    assert min(sizes[:-1]) >= splitter.window.tokens - 1


def test_a_cut_falls_between_paragraphs_where_it_can(encoder, limits):
    paragraphs = [
        "The first line ran from Shimbashi to Yokohama. It opened in the year 1872.",
        "An ekiben is a boxed meal. It is sold at stations, to be eaten.",
    ]
    narrow = limits.model_copy(update={"chunk_tokens": 24, "overlap_tokens": 0})
    assert [chunk.text for chunk in split(TokenSplitter(encoder, narrow), "\n\n".join(paragraphs * 2))] == paragraphs * 2


def test_a_chunk_knows_the_page_it_begins_on(encoder, limits):
    pages = ["First page. " * 20, "Second page. " * 20, "Third page. " * 20]
    starts = (0, len(pages[0]), len(pages[0] + pages[1]))
    document = Document(id="d", text="".join(pages), page_starts=starts)
    chunks = TokenSplitter(encoder, limits).split(document)
    assert [chunk.page for chunk in chunks] == [1 + sum(chunk.start >= start for start in starts[1:]) for chunk in chunks]
    assert {chunk.page for chunk in chunks} == {1, 2, 3}


@pytest.mark.parametrize(("offset", "page"), [(0, None), (4, None), (5, 1), (9, 1), (10, 2), (99, 2)])
def test_a_page_ends_where_the_next_begins(offset, page):
    assert page_at((5, 10), offset) == page


def test_a_text_without_pages_has_none():
    assert page_at((), 3) is None


def test_a_collection_may_have_sizes_of_its_own(encoder, limits):
    text = "Sentence by sentence it goes on. " * 40
    own = CollectionSettings(chunk_tokens=80, overlap_tokens=0)
    wide = TokenSplitter(encoder, limits, own)
    assert wide.window.tokens == 80
    assert all(one.end <= other.start for one, other in pairwise(split(wide, text)))
    assert split(TokenSplitter(encoder, limits, CollectionSettings(description="as ever")), text) == split(TokenSplitter(encoder, limits), text)


def test_the_overlap_is_never_above_half_the_chunk(encoder, limits):
    narrow, most = (TokenSplitter(encoder, limits, CollectionSettings(chunk_tokens=32, overlap_tokens=tokens)) for tokens in (16, 500))
    text = "Sentence by sentence it goes on. " * 40
    assert split(narrow, text) == split(most, text)


def test_passages_are_what_is_embedded(encoder, limits):
    splitter = TokenSplitter(encoder, limits)
    document = Document(id="d", title="Ekiben", text="# Rice\n" + "It was white. " * 30, headings=(Heading(start=0, level=1, text="Rice"),))
    chunks = splitter.split(document)
    passages = splitter.passages(SplitDocument(document=document, chunks=chunks, encoder=splitter.encoder))
    assert passages[0] == f"Ekiben\n{chunks[0].text}"
    assert passages[1] == f"Ekiben > Rice\n{chunks[1].text}"


def test_the_splitter_is_named_by_its_encoder(encoder, limits):
    port: Splits = TokenSplitter(encoder, limits)
    assert port.encoder == encoder.fingerprint
