import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.schemas import Citation, Passage, Sentence, Span
from core.words import content_words
from pipelines.answering.citations import cite, supports, with_highlights
from tests.pipelines.answering.fakes import passage

QUOTE = "The tunnel is 53.85 km long, and 23.3 km of it run under the sea."
FOUND = passage(1, f"Trains use it. {QUOTE} It was opened in 1988.")
START = FOUND.start + FOUND.text.index(QUOTE)
SPAN = Span(document_id=FOUND.document_id, chunk_id=FOUND.chunk_id, collection=FOUND.collection, start=START, end=START + len(QUOTE), quote=QUOTE)

texts = st.text(min_size=1, max_size=80)


def _cited(text: str, *spans: Span, passages: tuple[Passage, ...] = (FOUND,)) -> tuple[Citation, ...]:
    return cite([Sentence(text=text, supports=spans)], passages)


@pytest.mark.parametrize(
    "text", [QUOTE, QUOTE.upper(), "The tunnel is 53.85 km long.", "23.3 km of the tunnel run under the sea.", "How long the tunnel is: 53.85 km!"]
)
def test_a_sentence_that_says_what_its_quote_says_is_verified(text: str) -> None:
    (citation,) = _cited(text, SPAN)
    assert citation.verified
    assert FOUND.text[citation.start - FOUND.start : citation.end - FOUND.start] == citation.quote


@pytest.mark.parametrize(
    "change",
    [
        {"start": START + 1},
        {"end": START + len(QUOTE) - 1},
        {"start": START + 1, "end": START + 1 + len(QUOTE)},
        {"start": START - FOUND.start, "end": START - FOUND.start + len(QUOTE)},
        {"start": START, "end": START, "quote": ""},
        {"start": START, "end": START - 1},
        {"start": -5, "end": -1},
        {"start": FOUND.start - 1, "end": FOUND.end + 1, "quote": FOUND.text},
        {"quote": QUOTE.replace("53.85", "35.85")},
        {"quote": QUOTE + " "},
        {"document_id": "doc-2"},
    ],
    ids=str,
)
def test_a_span_that_does_not_stand_in_its_passage_is_not_verified(change: dict[str, object]) -> None:
    (citation,) = _cited(QUOTE, SPAN.model_copy(update=change))
    assert not citation.verified


@pytest.mark.parametrize(
    "text",
    [
        "The tunnel is 54 km long, and 23.3 km of it run under the sea.",
        "The tunnel is 53.85 km long, and 23.3 km of it run under the sea since 1988.",
        "The tunnel, built by Seikan engineers at great cost, runs under the sea.",
        "The tunnel is long, and trains pass under the sea.",
        "Trains use it.",
        "...",
        "",
    ],
)
def test_a_sentence_that_says_more_than_its_quote_is_not_verified(text: str) -> None:
    (citation,) = _cited(text, SPAN)
    assert not citation.verified


@pytest.mark.parametrize("change", [{"chunk_id": "doc-9#0"}, {"collection": "other"}])
def test_a_span_of_no_retrieved_passage_is_left_out(change: dict[str, object]) -> None:
    assert _cited(QUOTE, SPAN.model_copy(update=change)) == ()


def test_the_same_chunk_id_in_two_collections_is_told_apart() -> None:
    other = FOUND.model_copy(update={"collection": "other", "text": "x" * len(FOUND.text), "title": "Other"})
    citations = _cited(QUOTE, SPAN, SPAN.model_copy(update={"collection": "other"}), passages=(FOUND, other))
    assert [(citation.collection, citation.title, citation.verified) for citation in citations] == [
        ("default", FOUND.title, True),
        ("other", "Other", False),
    ]


def test_citations_come_in_reading_order_one_for_each_span() -> None:
    sentences = [Sentence(text=QUOTE, supports=(SPAN, SPAN)), Sentence(text="Nothing rests on anything."), Sentence(text=QUOTE, supports=(SPAN,))]
    assert [citation.sentence for citation in cite(sentences, [FOUND])] == [0, 0, 2]


@given(text=texts, offset=st.integers(0, 10_000), data=st.data())
def test_a_quote_taken_from_the_passage_is_verified_and_a_shifted_one_only_where_the_text_repeats(
    text: str, offset: int, data: st.DataObject
) -> None:
    found = passage(1, text, start=offset)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    shift = data.draw(st.integers(-3, 3))
    span = SPAN.model_copy(update={"start": offset + start + shift, "end": offset + end + shift, "quote": text[start:end]})
    (citation,) = _cited(text[start:end], span, passages=(found,))
    stands = start + shift >= 0 and end + shift <= len(text) and text[start + shift : end + shift] == text[start:end]
    assert citation.verified == stands


@given(texts)
def test_every_text_supports_itself(text: str) -> None:
    assert supports(text, text)


@given(texts, texts.filter(content_words))
def test_more_quote_never_supports_less(quote: str, sentence: str) -> None:
    assert not supports(quote, sentence) or supports(f"{quote} {sentence}", sentence)


def test_a_quote_that_refers_back_comes_with_what_it_refers_to() -> None:
    quote = "It was opened in 1988."
    start = FOUND.start + FOUND.text.index(quote)
    span = SPAN.model_copy(update={"start": start, "end": start + len(quote), "quote": quote, "context_start": START})
    (citation,) = _cited("The tunnel was opened in 1988.", span)
    assert citation.context == f"{QUOTE} "
    assert FOUND.text[citation.context_start - FOUND.start : citation.start - FOUND.start] == citation.context  # type: ignore[operator]
    assert citation.verified
    (alone,) = _cited("The tunnel was opened in 1988.", span.model_copy(update={"context_start": None}))
    assert not alone.verified


@pytest.mark.parametrize("context_start", [START, START + 5, FOUND.start - 1, -1, 10**6])
def test_a_context_that_does_not_stand_before_its_quote_is_left_out(context_start: int) -> None:
    (citation,) = _cited(QUOTE, SPAN.model_copy(update={"context_start": context_start}))
    assert (citation.context, citation.context_start) == ("", None)
    assert citation.verified


def test_the_short_answer_is_marked_in_the_best_sentence_alone() -> None:
    citations = cite([Sentence(text=QUOTE, supports=(SPAN,)), Sentence(text=QUOTE, supports=(SPAN,))], [FOUND])
    marked, other = with_highlights(citations, 0, "How long is the tunnel?", {"tunnel": 1.0, "long": 1.0})
    ((start, end),) = marked.highlights
    assert FOUND.text[start - FOUND.start : end - FOUND.start] == "53.85"
    assert other.highlights == ()
    assert with_highlights(citations, 0, "Why is the tunnel long?", {"tunnel": 1.0}) == citations
