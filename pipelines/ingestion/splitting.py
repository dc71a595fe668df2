"""Cuts documents into chunks that fit the encoder's window, at the best boundary there is, offsets kept."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from semantic_text_splitter import TextSplitter

from core.schemas import Chunk, CollectionSettings, Document, EncoderInfo, SplitDocument
from core.settings import IngestionSettings
from pipelines.ingestion.outline import Outline
from pipelines.ingestion.stretching import Span, stretches
from pipelines.ingestion.window import EncoderWindow

_COUNTED_AT_ONCE = 256
# Enough to see whether a chunk begins with a heading, which has at most 1,000 characters.
_BEGINNING = 2_000


class TokenSplitter:
    """Splits at the borders of sections first, then of tables and code, then of paragraphs, sentences, words. Implements `core.ports.Splits`.

    Every character but whitespace is in at least one chunk, starts increase, and no `window.passage_text(title, headings, text)` of a chunk
    has more tokens than `window.tokens`. A section that fits is whole, and shares its chunk with its neighbours under the same heading where
    all of them fit. A heading goes with the text under it. Tables and code that fit are whole; what doesn't fit is cut between lines, and a
    table's header row stands in its first chunk only, because a chunk is the document's text at its offsets. Chunks overlap inside a section
    and outside of tables and code. What fits is estimated (`EncoderWindow.estimate`), what is too long never passes the exact count.

    `settings` are those of a collection. 10 MB of prose take about 10 s of one core. Safe to share between threads.
    """

    def __init__(self, encoder: EncoderInfo, limits: IngestionSettings, settings: CollectionSettings | None = None) -> None:
        own = settings or CollectionSettings()
        overlap = limits.overlap_tokens if own.overlap_tokens is None else own.overlap_tokens
        self.window = EncoderWindow(encoder, limits, own.chunk_tokens)
        self.encoder = encoder.fingerprint
        self._overlap_tokens = min(overlap, self.window.tokens // 2)

    def split(self, document: Document) -> tuple[Chunk, ...]:
        """Chunks in reading order; at least one, as a document's text is never blank. Blocks for CPU time."""
        cut = _Cut(document, self.window, self._overlap_tokens)
        return tuple(
            Chunk(
                ordinal=ordinal,
                start=start,
                end=end,
                text=document.text[start:end],
                page=page_at(document.page_starts, start),
                headings=cut.outline.path_at(start),
            )
            for ordinal, (start, end) in enumerate(_in_reading_order(cut.spans()))
        )

    def passages(self, split: SplitDocument) -> tuple[str, ...]:
        """The texts to embed for the chunks of `split`."""
        return tuple(self.window.passage_text(split.document.title, chunk.headings, chunk.text) for chunk in split.chunks)


class _Cut:
    """The cutting of one document. `limit` is how many tokens a piece may be estimated at, where its room is not smaller."""

    def __init__(self, document: Document, window: EncoderWindow, overlap_tokens: int) -> None:
        self.outline = Outline(document, lambda text: window.estimate(text) <= window.room(document.title))
        self._title = document.title
        self._text = document.text
        self._window = window
        self._overlap_tokens = overlap_tokens

    def spans(self) -> Iterator[Span]:
        """Spans that cover the text, in any order.

        The estimate that finds them is checked against the exact count of the passage, which also knows what the tokenizer makes of the
        seam between title and text; what is too long is cut again, smaller.
        """
        free = self._window.tokens
        pending = [((0, len(self._text)), free)]
        while pending:
            found = [(piece, limit if piece == span else free) for span, limit in pending for piece in self._cut(span, limit)]
            pending = []
            for (span, limit), tokens in zip(found, self._passage_tokens([span for span, _ in found]), strict=True):
                if tokens <= self._window.tokens or span[1] - span[0] == 1 or limit == 1:
                    yield span
                else:
                    in_proportion = self._tokens(span) * self._window.tokens // tokens
                    pending.append((span, max(1, min(limit - 1, in_proportion))))

    def _cut(self, span: Span, limit: int) -> list[Span]:
        start, end = self._trimmed(span)
        if start == end:
            return []
        if self._tokens((start, end)) <= self._room(start, limit):
            return [(start, end)]
        parts, of_sections = self.outline.parts((start, end))
        if len(parts) == 1:
            return self._cut_text((start, end), limit)
        free = self._window.tokens
        if of_sections:
            groups = self._packed(filter(_holds, map(self._trimmed, parts)), limit)
            return [piece for group in groups for piece in (self._cut(group[0], free) if len(group) == 1 else [_joined(group)])]
        # The end of a paragraph may share the chunk of the table that it announces.
        return [_joined(group) for group in self._packed((piece for part in parts for piece in self._cut(part, free)), limit)]

    def _packed(self, spans: Iterable[Span], limit: int) -> Iterator[list[Span]]:
        """Neighbouring `spans` in groups that fit, each as large as it can be."""
        group: list[Span] = []
        left = 0
        for start, end in spans:
            added = self._tokens((group[-1][1], end)) if group else 0
            if group and added <= left:
                group.append((start, end))
                left -= added
            else:
                if group:
                    yield group
                group = [(start, end)]
                left = self._room(start, limit) - self._tokens((start, end))
        if group:
            yield group

    def _cut_text(self, span: Span, limit: int) -> list[Span]:
        """`span`, which is too long, cut with no border inside but that between a heading and its text."""
        start, end = span
        body = min(self.outline.body_of(start), end)
        block = self.outline.block_around((body, end)) if body < end else None
        room = self._room(body, limit)
        if start < body:
            under_heading = self._room(start, limit) - self._tokens((start, body))
            if block and self._fits_alone(whole := self._trimmed(block)):
                return [self._trimmed((start, body)), whole]
            # A heading that would take half of each chunk is cut like text.
            apart = 2 * under_heading < room
            body, room = (start, min(room, self._room(start, limit))) if apart else (body, min(room, under_heading))
        first, *others = self._cut_plain((body, end), room, 0 if block else self._overlap_tokens)
        return [(start, first[1]), *others]

    def _cut_plain(self, span: Span, room: int, overlap: int) -> Iterator[Span]:
        # Untrimmed: trimming together with an overlap can make chunk_indices panic in Rust, which is no Exception (0.33.1).
        splitter = TextSplitter.from_callback(self._window.estimate, room, min(overlap, room // 2), trim=False)
        for first, last in stretches(self._text, span):
            for offset, chunk in splitter.chunk_indices(self._text[first:last]):
                if _holds(piece := self._trimmed((first + offset, first + offset + len(chunk)))):
                    yield piece

    def _fits_alone(self, span: Span) -> bool:
        free = self._window.tokens
        return self._tokens(span) <= self._room(span[0], free) and next(self._passage_tokens([span])) <= free

    def _tokens(self, span: Span) -> int:
        return self._window.estimate(self._text[span[0] : span[1]])

    def _room(self, start: int, limit: int) -> int:
        beginning = self._text[start : start + _BEGINNING]
        return min(limit, self._window.room(self._title, self.outline.path_at(start), beginning))

    def _trimmed(self, span: Span) -> Span:
        """`span` without the whitespace around it; empty where it holds nothing else."""
        text = self._text[span[0] : span[1]]
        stripped = text.lstrip()
        start = span[0] + len(text) - len(stripped)
        return start, start + len(stripped.rstrip())

    def _passage_tokens(self, spans: Sequence[Span]) -> Iterator[int]:
        for first in range(0, len(spans), _COUNTED_AT_ONCE):
            batch = spans[first : first + _COUNTED_AT_ONCE]
            yield from self._window.count([self._passage(span) for span in batch])

    def _passage(self, span: Span) -> str:
        return self._window.passage_text(self._title, self.outline.path_at(span[0]), self._text[span[0] : span[1]])


def page_at(page_starts: Sequence[int], offset: int) -> int | None:
    """Number of the page, from 1, that holds the character at `offset`; None for a document without pages."""
    return bisect_right(page_starts, offset) or None


def _holds(span: Span) -> bool:
    return span[0] < span[1]


def _joined(group: Sequence[Span]) -> Span:
    return group[0][0], group[-1][1]


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
