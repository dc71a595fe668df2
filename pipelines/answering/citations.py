"""Citations: which characters of which source a sentence of an answer rests on, checked by code before anybody sees them."""

from collections.abc import Mapping, Sequence

from core.schemas import Citation, Passage, Sentence, Span
from core.words import content_words
from pipelines.answering.highlighting import highlight

# A sentence that copies its quote shares all of its words with it. Below this share it says something that the quote doesn't.
SUPPORT_SHARE = 0.7


def cite(sentences: Sequence[Sentence], passages: Sequence[Passage]) -> tuple[Citation, ...]:
    """One citation for each span that a sentence rests on, in reading order. A span of no retrieved passage is left out."""
    by_chunk = {(passage.collection, passage.chunk_id): passage for passage in passages}
    return tuple(
        citation
        for number, sentence in enumerate(sentences)
        for span in sentence.supports
        if (citation := _cite(number, sentence, span, by_chunk)) is not None
    )


def borne_out(sentence: Sentence, passages: Sequence[Passage]) -> Sentence:
    """`sentence` with those of its spans that would be cited as verified."""
    spans = tuple(
        span for span in sentence.supports if any(one.verified for one in cite([sentence.model_copy(update={"supports": (span,)})], passages))
    )
    return sentence.model_copy(update={"supports": spans})


def _cite(number: int, sentence: Sentence, span: Span, by_chunk: Mapping[tuple[str, str], Passage]) -> Citation | None:
    passage = by_chunk.get((span.collection, span.chunk_id))
    if passage is None:
        return None
    context = _context(span, passage)
    return Citation(
        sentence=number,
        document_id=passage.document_id,
        chunk_id=passage.chunk_id,
        collection=passage.collection,
        title=passage.title,
        page=passage.page,
        start=span.start,
        end=span.end,
        quote=span.quote,
        context_start=span.context_start if context else None,
        context=context,
        verified=stands_in(span, passage) and supports(span.quote, sentence.text, context),
    )


def _context(span: Span, passage: Passage) -> str:
    """What the passage holds from where the span's context begins up to the quote; "" where there is none."""
    if span.context_start is None or not passage.start <= span.context_start < span.start <= passage.end:
        return ""
    return passage.text[span.context_start - passage.start : span.start - passage.start]


def with_highlights(citations: Sequence[Citation], sentence: int, question: str, rarity: Mapping[str, float]) -> tuple[Citation, ...]:
    """`citations` with the short answer to `question` marked in the quotes of sentence number `sentence`, the one that answers best."""
    return tuple(
        citation.model_copy(update={"highlights": ((citation.start + found[0], citation.start + found[1]),)})
        if citation.sentence == sentence and (found := highlight(question, citation.quote, rarity))
        else citation
        for citation in citations
    )


def stands_in(span: Span, passage: Passage) -> bool:
    """Whether the quote stands at exactly these offsets of the stored document, as far as the passage shows it."""
    inside = passage.start <= span.start < span.end <= passage.end and span.document_id == passage.document_id
    return inside and passage.text[span.start - passage.start : span.end - passage.start] == span.quote


def supports(quote: str, sentence: str, context: str = "") -> bool:
    """Whether nearly all content words of `sentence`, and all of its numbers, occur in `quote` or its `context`. Identity always does."""
    said, quoted = set(content_words(sentence)), set(content_words(f"{context} {quote}"))
    # A sentence with one number changed shares nearly all of its words with its quote.
    invented = any(character.isdigit() for word in said - quoted for character in word)
    return quote == sentence or (bool(said) and not invented and len(said & quoted) / len(said) >= SUPPORT_SHARE)
