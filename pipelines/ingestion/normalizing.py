"""The one form in which text is stored. Text is normalized once, before any offset into it exists."""

import re
import unicodedata
from itertools import accumulate, pairwise

from core.schemas import Document

_LINE_END = re.compile(r"\r\n?")
# A tab separates words and \n separates lines; the other C0 controls, DEL and byte order marks mean nothing in running text.
_DROPPED = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufeff]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def normalize(text: str) -> str:
    r"""Return `text` in NFC with \n line ends, without control characters and byte order marks. Idempotent.

    Lone surrogates, which no UTF-8 can hold, become U+FFFD.
    """
    text = _LINE_END.sub("\n", text)
    text = _DROPPED.sub("", text)
    text = _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
    return unicodedata.normalize("NFC", text)


def normalize_document(document: Document) -> Document:
    """`document` with title and text normalized and `page_starts` moved along; the text may have become blank."""
    text = normalize(document.text)
    starts = document.page_starts if text == document.text else _moved(document.page_starts, document.text, len(text))
    return document.model_copy(update={"title": normalize(document.title), "text": text, "page_starts": starts})


def _moved(starts: tuple[int, ...], text: str, limit: int) -> tuple[int, ...]:
    bounds = [0, *starts]
    lengths = (len(normalize(text[start:end])) for start, end in pairwise(bounds))
    # A page that begins inside a combining sequence or a CRLF counts a character twice; the clamp keeps its label inside the text.
    return tuple(min(offset, limit) for offset in accumulate(lengths))
