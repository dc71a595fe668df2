"""The short answer inside a quoted sentence, to be marked there: the date of a "when", the number of a "how many", the name of a "who" or "where".

Rules, no model, so that it costs nothing and can be read. Questions of other kinds ("what", "why") get no mark, because no rule tried was right more
often than not. docs/evaluation.md has how often the marks are right.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Literal, NamedTuple

from core.words import FUNCTION_WORDS, stem, words

Asked = Literal["time", "number", "person", "place"]

_TOKEN = re.compile(r"\d[\d.,]*\d(?!\w)|\w+(?:['’]\w+)*|[^\w\s]")
_ASKING = re.compile(
    r"\b(who|whom|whose|when|where|how (?:many|much|long|old|far|large|big|tall|high|deep|fast)|what|which|how|why)\b", re.IGNORECASE
)
_BY_WORD: Mapping[str, Asked] = {"who": "person", "whom": "person", "whose": "person", "when": "time", "where": "place"}
_HEADS: Sequence[tuple[Asked, frozenset[str]]] = (
    ("time", frozenset(words("year years date day month century decade time era"))),
    (
        "number",
        frozenset(words("percentage percent number population amount cost price rate age size length height depth temperature score ratio distance")),
    ),
    ("place", frozenset(words("city country state place location region county town island continent"))),
    (
        "person",
        frozenset(words("person actor actress singer leader president king queen emperor scientist engineer author writer player artist man woman")),
    ),
)
_HEAD_WITHIN = 4

_MONTHS = frozenset(words("january february march april may june july august september october november december"))
_NUMBERS = frozenset(
    words("""
        one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty
        forty fifty sixty seventy eighty ninety hundred thousand million billion trillion dozen half percent
    """)
)
_YEAR = re.compile(r"(?:1\d|20)\d\ds?(?:[-–/]\d+)?")
_ERAS = frozenset({"century", "bc", "ad", "bce", "ce"})
_JOINING = frozenset(words("of the de la von van du del der den di"))
_TO_A_PLACE = frozenset(words("in at on near from to into"))
# Fitted on SQuAD 2's answerable questions. A longer name says more of who it was, and a place is named after a preposition.
_PER_WORD_OF_A_PERSON = 0.04
_AFTER_PREPOSITION = 2.0


class _Token(NamedTuple):
    start: int
    end: int
    text: str
    low: str


class _Found(NamedTuple):
    """A part of a sentence, as numbers of its first token and of the one after its last."""

    kind: Literal["time", "number", "name"]
    first: int
    end: int


def highlight(question: str, quote: str, rarity: Mapping[str, float]) -> tuple[int, int] | None:
    """Start and end (exclusive) of the characters of `quote` that answer `question` in short; None where nothing can be said.

    Of the parts of the kind that is asked for, that aren't words of the question, the one nearest to the question's rare words in the sentence:
    the sum of their `rarity` (stem → weight), each divided by its distance in tokens.
    """
    asked = asked_for(question)
    if asked is None:
        return None
    tokens = [_Token(match.start(), match.end(), match.group(), match.group().lower()) for match in _TOKEN.finditer(quote)]
    stems = [stem(token.low) if _is_word(token) else "" for token in tokens]
    kind = asked if asked in ("time", "number") else "name"
    fitting = [part for part in (*_figures(tokens), *_names(tokens)) if part.kind == kind and _is_new(stems[part.first : part.end], rarity)]
    best = max(fitting, key=lambda part: _worth(part, asked, tokens, stems, rarity), default=None)
    return (tokens[best.first].start, tokens[best.end - 1].end) if best else None


def asked_for(question: str) -> Asked | None:
    """The kind of thing that `question` asks for, where a short answer can be told by its looks."""
    match = _ASKING.search(question)
    if match is None:
        return None
    word = match.group(1).lower()
    if word in _BY_WORD:
        return _BY_WORD[word]
    if " " in word:
        return "number"
    if word not in ("what", "which"):
        return None
    following = words(question[match.end() :])[:_HEAD_WITHIN]
    # Up to the first word with content, which is what "what" and "which" ask for.
    head = len(list(takewhile(FUNCTION_WORDS.__contains__, following)))
    return next((asked for asked, heads in _HEADS if heads & set(following[: head + 1])), None)


def _figures(tokens: Sequence[_Token]) -> Iterator[_Found]:
    """Dates and numbers."""
    at = 0
    while at < len(tokens):
        first, at = at, at + 1
        if not _is_figure(tokens[first]):
            continue
        while at < len(tokens) and (_is_figure(tokens[at]) or _joins_figures(tokens, at)):
            at += 1
        named = any(token.low in _MONTHS for token in tokens[first:at])
        dated = named or bool(_YEAR.fullmatch("".join(token.text for token in tokens[first:at])))
        if at < len(tokens) and tokens[at].low in _ERAS:
            dated, at = True, at + 1
        elif at < len(tokens) and tokens[at].text == "%":
            at += 1
        if first and tokens[first - 1].text in "$£€¥":
            first -= 1
        yield _Found("time" if dated else "number", first, at)


def _names(tokens: Sequence[_Token]) -> Iterator[_Found]:
    """Runs of capitalized words, joined by "of", "the", "de" and the like. A function word that begins a sentence is none."""
    at = 0
    while at < len(tokens):
        first, at = at, at + 1
        if not tokens[first].text[0].isupper():
            continue
        while (end := _name_goes_on(tokens, at)) > at:
            at = end
        if tokens[first].low in FUNCTION_WORDS:
            first += 1
        if first < at:
            yield _Found("name", first, at)


def _name_goes_on(tokens: Sequence[_Token], at: int) -> int:
    """Where the next part of a name ends that has reached token `at`; `at` where it ends there."""
    following = tokens[at : at + 3]
    joined = len(list(takewhile(lambda token: token.low in _JOINING or token.text in "-–.", following[:2])))
    return at + joined + 1 if joined < len(following) and following[joined].text[0].isupper() else at


def _is_word(token: _Token) -> bool:
    return token.text[0].isalnum()


def _is_figure(token: _Token) -> bool:
    return token.text[0].isdigit() or token.low in _NUMBERS or (token.low in _MONTHS and token.text[0].isupper())


def _joins_figures(tokens: Sequence[_Token], at: int) -> bool:
    return tokens[at].text in ",-–/" and at + 1 < len(tokens) and _is_figure(tokens[at + 1])


def _is_new(stems: Sequence[str], rarity: Mapping[str, float]) -> bool:
    """Whether more than half of the words are none of the question's."""
    telling = [one for one in stems if one]
    return 2 * sum(one in rarity for one in telling) < len(telling)


def _worth(part: _Found, asked: Asked, tokens: Sequence[_Token], stems: Sequence[str], rarity: Mapping[str, float]) -> float:
    distances = {at: part.first - at if at < part.first else at - part.end + 1 for at in range(len(tokens)) if not part.first <= at < part.end}
    near = sum(rarity.get(stems[at], 0.0) / (distance + 1) for at, distance in distances.items()) / (sum(rarity.values()) or 1.0)
    if asked == "person":
        return near + _PER_WORD_OF_A_PERSON * (part.end - part.first)
    if asked == "place" and part.first and tokens[part.first - 1].low in _TO_A_PLACE:
        return near * _AFTER_PREPOSITION
    return near
