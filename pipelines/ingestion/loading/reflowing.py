"""Makes running text of the lines that a PDF gives, so that its sentences can be found and quoted."""

import re
from itertools import pairwise
from unicodedata import east_asian_width

_SHORT_SHARE = 0.7
_LIST_ITEM = re.compile(r"(?:[•·▪◦‣∙●○*–—-]|\(?(?:\d{1,3}|[A-Za-z])[.)])\s")
_PAGE_NUMBER = re.compile(r"(?:page\s*)?[-–—\s]*\d{1,4}[-–—\s]*(?:(?:of|/)\s*\d{1,4})?", re.IGNORECASE)
_NUMBER = r"[$€£(]*\s?\d[\d.,]*[)%]*"
_TABLE_ROW = re.compile(rf"(?:^|\s)(?:{_NUMBER}|—)\s+{_NUMBER}$")
_SENTENCE_END = (".", "!", "?", ":", "。")
_BROKEN_WORD = re.compile(r"[^\W\d_][-\N{HYPHEN}]$")
_BLANK_LINES = re.compile(r"\n{3,}")


def reflow(page: str) -> str:
    r"""Join the lines of each paragraph with spaces, and the halves of words that were hyphenated at a line's end.

    A line end is kept where one was meant: after a line notably shorter than the page is wide, around list items, rows of numbers and
    page numbers, and at blank lines (one at most).
    """
    lines = [" ".join(line.split()) for line in page.split("\n")]
    width = max(map(len, lines))
    parts = [lines[0]]
    for above, line in pairwise(lines):
        if _ends_paragraph(above, line, width):
            parts.append("\n")
        elif _drops_hyphen(above, line):
            parts[-1] = parts[-1][:-1]
        elif not _joins_tightly(above, line):
            parts.append(" ")
        parts.append(line)
    return _BLANK_LINES.sub("\n\n", "".join(parts)).strip()


def _ends_paragraph(above: str, line: str, width: int) -> bool:
    if not above or not line:
        return True
    if _BROKEN_WORD.search(above) and line[0].islower():
        return False
    if any(map(_PAGE_NUMBER.fullmatch, (above, line))) or _LIST_ITEM.match(line) or _TABLE_ROW.search(above):
        return True
    short = _SHORT_SHARE * width
    return len(above) < short or (above.endswith(_SENTENCE_END) and len(line) < short)


def _drops_hyphen(above: str, line: str) -> bool:
    """Whether the hyphen at the end of `above` is there for the line's end only: "exam-" "ple", but not "Sunday-" "School"."""
    return above.endswith("\N{SOFT HYPHEN}") or (_BROKEN_WORD.search(above) is not None and line[0].islower())


def _joins_tightly(above: str, line: str) -> bool:
    """After a hyphen that stays, and between characters of scripts that are written without spaces."""
    return _BROKEN_WORD.search(above) is not None or all(east_asian_width(char) in "WF" for char in (above[-1], line[0]))
