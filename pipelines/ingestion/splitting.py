"""Cuts documents into chunks that fit the encoder's window, at the best boundary there is, offsets kept."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from core.schemas import Chunk, Document, EncoderInfo
from core.settings import IngestionSettings
from pipelines.ingestion.stretching import Span, stretches
from pipelines.ingestion.window import EncoderWindow

_COUNTED_AT_ONCE = 256


class TokenSplitter:
    """Splits by tokens at paragraph, sentence or word borders (Markdown: sections first). Implements `core.ports.Splits`.

    Every character but whitespace is in at least one chunk, starts increase, and no `window.passage_text(title, chunk.text)` has more
    tokens than `window.tokens`. 10 MB of prose take about 10 s of one core. Safe to share between threads.
    """

    def __init__(self, encoder: EncoderInfo, limits: IngestionSettings) -> None:
        self.window = EncoderWindow(encoder, limits)
        self.encoder = encoder.fingerprint
        self._overlap_tokens = limits.overlap_tokens

    def split(self, document: Document) -> tuple[Chunk, ...]:
        """Chunks in reading order; at least one, as a document's text is never blank. Blocks for CPU time."""
        text = document.text
        cut = _Cut(document, self.window, self._overlap_tokens)
        spans = cut.within((0, len(text)), self.window.room(document.title))
        return tuple(
            Chunk(ordinal=ordinal, start=start, end=end, text=text[start:end], page=page_at(document.page_starts, start))
            for ordinal, (start, end) in enumerate(_in_reading_order(spans))
        )


class _Cut:
    """The cutting of one document."""

    def __init__(self, document: Document, window: EncoderWindow, overlap_tokens: int) -> None:
        self._title = document.title
        self._text = document.text
        self._splitter = MarkdownSplitter if document.metadata.get("format") == "markdown" else TextSplitter
        self._window = window
        self._overlap_tokens = overlap_tokens

    def within(self, span: Span, capacity: int) -> Iterator[Span]:
        """Spans of at most `capacity` tokens that cover `span`.

        The estimate that finds them is checked against the exact count of the passage, which also knows what the tokenizer makes of the
        seam between title and text; what is too long is cut again, smaller.
        """
        spans = list(self._estimated(span, capacity))
        for (start, end), tokens in zip(spans, self._passage_tokens(spans), strict=True):
            excess = tokens - self._window.tokens
            if excess <= 0 or capacity == 1:
                yield start, end
            else:
                yield from self.within((start, end), max(1, capacity - excess))

    def _estimated(self, span: Span, capacity: int) -> Iterator[Span]:
        overlap = min(self._overlap_tokens, capacity // 2)
        # Untrimmed: trimming Markdown moves starts behind those of the overlap, which chunk_indices answers with a Rust panic (0.33.1).
        splitter = self._splitter.from_callback(self._window.estimate, capacity, overlap, trim=False)
        for first, last in stretches(self._text, span):
            for offset, chunk in splitter.chunk_indices(self._text[first:last]):
                start = first + offset + len(chunk) - len(chunk.lstrip())
                if trimmed := chunk.strip():
                    yield start, start + len(trimmed)

    def _passage_tokens(self, spans: Sequence[Span]) -> Iterator[int]:
        for first in range(0, len(spans), _COUNTED_AT_ONCE):
            batch = spans[first : first + _COUNTED_AT_ONCE]
            yield from self._window.count([self._window.passage_text(self._title, self._text[start:end]) for start, end in batch])


def page_at(page_starts: Sequence[int], offset: int) -> int | None:
    """Number of the page, from 1, that holds the character at `offset`; None for a document without pages."""
    return bisect_right(page_starts, offset) or None


def _in_reading_order(spans: Iterable[Span]) -> Iterator[Span]:
    """`spans` by start, without those that lie inside another one.

    Where chunks overlap, trimming can let two begin at the same character, and what was cut again can end in a piece that its neighbour
    holds as well.
    """
    reached = 0
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if end > reached:
            yield start, end
            reached = end
