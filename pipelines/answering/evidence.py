"""What speaks for and against the passages answering the question: the signals that abstention is decided by.

Two things are asked. Are the documents about it at all? Similarity knows that. And does the best sentence say it, or only something like it?
Similarity knows little of that (SQuAD 2's unanswerable questions were written to be as near as answerable ones), so these signals read: which of the
question's rare words and names the passage lacks, and whether a question in the negative found a sentence in the negative.
"""

import re
from collections.abc import Mapping, Sequence

from core.schemas import Passage, SearchResponse, Sentence, Span
from core.words import is_english, share, stem, stems, words

Evidence = Mapping[str, float]
"""Signal → value, most in [0, 1]. The keys are those of ABOUT and SAYS."""

ABOUT = ("dense", "lexical", "sentence_coverage", "passage_coverage", "rarest_missing", "foreign")
"""Signals of whether the documents are about the question."""

SAYS = ("dense_first", "sentence_coverage", "near_coverage", "passage_coverage", "rarest_missing", "names_missing", "negation_missing")
"""Signals of whether the best sentence says what was asked."""

_NEAR_CHARS = 200
_NAME = re.compile(r"\b(?:[^\W\d_a-z][\w'-]*|\d[\d,.]*)")
_NEGATIONS = frozenset({"not", "no", "never", "none", "nor", "neither", "without", "cannot", "except", "fewer", "least", "t"})


def evidence(question: str, found: SearchResponse, sentences: Sequence[Sentence]) -> Evidence | None:
    """The signals for an answer of `sentences`, of which the one with the highest score counts as the best; None where nothing was embedded.

    `dense` is the best cosine and `dense_first` that of the first passage; `lexical` is the BM25 of the best sentence's passage against the sum of
    the words' rarities; a coverage is the share of the question's words, weighted by rarity, that occur in the sentence, near it (200
    characters either way, and the title) or in its passage; `rarest_missing` is the rarity of the rarest word that the passage lacks against the
    rarest of all; `names_missing` the share of capitalized words and numbers that it lacks; `negation_missing` is 1 where the question is in the
    negative and the sentence is not; `foreign` is 1 where the question is not in English, whose words the other signals can read.
    """
    cosines = [passage.scores.dense for passage in found.passages if passage.scores.dense is not None]
    if not cosines:
        return None
    best = max(sentences, key=lambda sentence: sentence.score, default=Sentence(text=""))
    passage = _passage_of(best.supports, found.passages)
    quote = " ".join(span.quote for span in best.supports)
    wanted = found.rarity
    held = stems(f"{passage.title}\n{passage.text}")
    missing = [weight for word, weight in wanted.items() if word not in held]
    foreign = not is_english(question)
    # In other languages a capital letter means something else: in German any noun has one.
    names = frozenset() if foreign else {stem(word) for name in _names(question) for word in words(name)}
    return {
        "dense": max(cosines),
        "dense_first": cosines[0],
        "lexical": (passage.scores.lexical or 0.0) / (sum(wanted.values()) or 1.0),
        "sentence_coverage": share(wanted, stems(quote)),
        "near_coverage": share(wanted, stems(f"{passage.title}\n{_near(best.supports, passage)}")),
        "passage_coverage": share(wanted, held),
        "rarest_missing": max(missing, default=0.0) / (max(wanted.values(), default=0.0) or 1.0),
        "names_missing": len(names - held) / len(names) if names else 0.0,
        "foreign": float(foreign),
        "negation_missing": float(_is_negative(question) and not _is_negative(quote)),
    }


def _passage_of(spans: Sequence[Span], passages: Sequence[Passage]) -> Passage:
    chunks = {(span.collection, span.chunk_id) for span in spans}
    return next((passage for passage in passages if (passage.collection, passage.chunk_id) in chunks), passages[0])


def _near(spans: Sequence[Span], passage: Passage) -> str:
    """The text around the first of `spans` that stands in `passage`."""
    place = next((span for span in spans if span.chunk_id == passage.chunk_id), None)
    if place is None:
        return ""
    start, end = place.start - passage.start, place.end - passage.start
    return passage.text[max(0, start - _NEAR_CHARS) : end + _NEAR_CHARS]


def _names(question: str) -> list[str]:
    """Capitalized words and numbers, without the first word, which is capitalized anyway."""
    return [match.group().rstrip(".,") for match in _NAME.finditer(question) if match.start() > 0]


def _is_negative(text: str) -> bool:
    # `words` parts "isn't" into "isn" and "t".
    return not _NEGATIONS.isdisjoint(words(text))
