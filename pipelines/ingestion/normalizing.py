"""The one form in which text is stored. Text is normalized once, before any offset into it exists."""

import re
import unicodedata
from itertools import accumulate, pairwise

from core.schemas import Document

_LINE_END = re.compile(r"\r\n?")
# A tab separates words and \n separates lines; the other C0 controls, DEL and byte order marks mean nothing in running text.
_DROPPED = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufeff]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_COMBINING = 30  # the Stream-Safe Text Format of UAX #15 has no more in a row


def normalize(text: str) -> str:
    r"""Return `text` in NFC with \n line ends, without control characters and byte order marks. Idempotent.

    Lone surrogates, which no UTF-8 can hold, become U+FFFD.
    """
    text = _LINE_END.sub("\n", text)
    text = _DROPPED.sub("", text)
    text = _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
    return unicodedata.normalize("NFC", text)


def normalize_document(document: Document) -> Document:
    """`document` with its texts normalized, and pages, headings and blocks moved along; the text may have become blank. Idempotent.

    A block of which nothing is left goes.
    """
    text = normalize(document.text)
    changes: dict[str, object] = {"title": normalize(document.title), "text": text}
    headings = tuple(heading.model_copy(update={"text": normalize(heading.text)}) for heading in document.headings)
    if text != document.text:
        moved = _moves(document, len(text))
        headings = tuple(heading.model_copy(update={"start": moved[heading.start]}) for heading in headings)
        blocks = (block.model_copy(update={"start": moved[block.start], "end": moved[block.end]}) for block in document.blocks)
        changes["page_starts"] = tuple(moved[start] for start in document.page_starts)
        changes["blocks"] = tuple(block for block in blocks if block.start < block.end)
    return document.model_copy(update={**changes, "headings": headings})


def _moves(document: Document, limit: int) -> dict[int, int]:
    """Where each offset that the document names comes to lie."""
    named = {*document.page_starts, *(heading.start for heading in document.headings)}
    named.update(offset for block in document.blocks for offset in (block.start, block.end))
    cuts = {offset: _cut(document.text, offset) for offset in named}
    ordered = sorted(set(cuts.values()))
    lengths = (len(normalize(document.text[start:end])) for start, end in pairwise([0, *ordered]))
    # Longer combinations count a character twice; the clamp keeps every offset inside the text.
    places = dict(zip(ordered, accumulate(lengths), strict=True))
    return {offset: min(places[cut], limit) for offset, cut in cuts.items()}


def _cut(text: str, offset: int) -> int:
    """The nearest place up to `offset` that is not inside a CRLF or a combining sequence, so that the sides can be normalized apart."""
    for place in range(offset, max(offset - _MAX_COMBINING, 0), -1):
        here = text[place : place + 1]
        if not (here and unicodedata.combining(here)) and text[place - 1 : place + 1] != "\r\n":
            return place
    return max(offset - _MAX_COMBINING, 0)
