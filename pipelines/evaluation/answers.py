"""How right an answer's text is: containment, token F1, ROUGE-L."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import sentencex

SENTENCES = (1, 2, 3)
"""The numbers of sentences after which containment is looked at."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation and the articles a, an, the, white space as single blanks.

    That of the official script of SQuAD (Rajpurkar et al. 2016, evaluate-v1.1.py and evaluate-v2.0.py).
    """
    bare = "".join(character for character in text.lower() if character not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def contains_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether the words of any answer stand in `text` one after the other, both normalized.

    Whole words, as has_answer of DPR (Karpukhin et al. 2020): "5" is not contained in "1950". An answer of which normalizing leaves nothing is
    contained in no text.
    """
    padded = f" {normalize_answer(text)} "
    return any(f" {bare} " in padded for answer in answers if (bare := normalize_answer(answer)))


def first_sentences(text: str, count: int) -> str:
    """`text` up to the end of its sentence number `count`, in the order in which it is shown."""
    boundaries = list(sentencex.get_sentence_boundaries("en", text))
    return text[: boundaries[count - 1]["end_index"]] if count <= len(boundaries) else text


def token_f1(text: str, answers: Sequence[str]) -> float:
    """The best harmonic mean of precision and recall of the words shared with an answer, 0 to 1; as the official script of SQuAD 2.0 does it."""
    return max((_f1(text, answer) for answer in answers), default=0.0)


def _f1(text: str, answer: str) -> float:
    said, right = normalize_answer(text).split(), normalize_answer(answer).split()
    if not said or not right:
        return float(said == right)
    shared = sum((Counter(said) & Counter(right)).values())
    return 2 * shared / (len(said) + len(right))


def rouge_l(text: str, references: Sequence[str]) -> float:
    """The best ROUGE-L F-measure against a reference, 0 to 1, with Porter stemming; Lin (2004), in the rouge-score package of Google Research."""
    return max((float(_rouge_scorer().score(reference, text)["rougeL"].fmeasure) for reference in references), default=0.0)


@cache
def _rouge_scorer() -> Any:
    from rouge_score import rouge_scorer  # noqa: PLC0415 - takes two seconds, and only sets with references need it

    return rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
