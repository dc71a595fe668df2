"""What a question's searches and its answer are worth."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from core.errors import ErrorInfo
from core.schemas import Answer, Citation, Mode, Passage, SearchResponse
from pipelines.evaluation import answers
from pipelines.evaluation.question_sets import SetQuestion
from pipelines.evaluation.rankings import RANKING_DEPTH, rank_documents
from pipelines.evaluation.report import AnswerRow, CitedSpan, Row

TextOf = Callable[[str], str | None]
"""The stored text of a document by its id; None where there is no such document."""


@dataclass
class Responses:
    """What the services said to a question. Timings are by journey and stage, in milliseconds."""

    searches: dict[Mode, SearchResponse] = field(default_factory=dict)
    answer: Answer | None = None
    error: ErrorInfo | None = None
    timings_ms: dict[str, dict[str, float]] = field(default_factory=dict)


def judge(question: SetQuestion, relevant: frozenset[str], responses: Responses, text_of: TextOf) -> Row:
    """The question's row, without its retrieval scores, which are computed over all rankings at once. `relevant` holds document ids.

    Calls `text_of` for each document that the answer returned, or that stands high in a ranking.
    """
    if responses.error:
        return Row(id=question.id, answerable=question.answerable, error=responses.error)
    offsets = [_resolves(passage.text, passage, text_of) for passage in _shown_passages(responses)]
    answer = _answer_row(responses.answer, relevant, text_of) if responses.answer else None
    offsets += [citation.resolves for citation in answer.citations] if answer else []
    return Row(
        id=question.id,
        answerable=question.answerable,
        found={mode: rank_documents(search.passages) for mode, search in responses.searches.items()},
        answer=answer,
        degraded=any(response.degraded for response in (*responses.searches.values(), responses.answer) if response),
        scores=_score(question, relevant, answer) if answer else {},
        offsets_checked=len(offsets),
        offsets_broken=offsets.count(False),
        timings_ms=responses.timings_ms,
    )


def _shown_passages(responses: Responses) -> Iterator[Passage]:
    for search in responses.searches.values():
        yield from search.passages[:RANKING_DEPTH]
    if responses.answer:
        yield from responses.answer.passages


def _resolves(quote: str, place: Passage | Citation, text_of: TextOf) -> bool:
    text = text_of(place.document_id)
    return text is not None and 0 <= place.start < place.end <= len(text) and text[place.start : place.end] == quote


def _is_whole(citation: Citation, text: str) -> bool:
    """Whether context and highlights, too, are where the citation says."""
    context = citation.context_start is None or text[citation.context_start : citation.start] == citation.context
    return context and all(citation.start <= start < end <= citation.end for start, end in citation.highlights)


def _highlight(citation: Citation) -> str:
    return " ".join(citation.quote[start - citation.start : end - citation.start] for start, end in citation.highlights)


def _answer_row(answer: Answer, relevant: frozenset[str], text_of: TextOf) -> AnswerRow:
    return AnswerRow(
        text="" if answer.abstained else answer.answer,
        abstained=answer.abstained,
        confidence=answer.confidence,
        evidence=answer.debug.evidence if answer.debug else None,
        highlight=next(filter(None, map(_highlight, answer.citations)), ""),
        citations=tuple(
            CitedSpan(
                document_id=citation.document_id,
                start=citation.start,
                end=citation.end,
                resolves=_resolves(citation.quote, citation, text_of) and _is_whole(citation, text_of(citation.document_id) or ""),
                relevant=citation.document_id in relevant,
            )
            for citation in answer.citations
        ),
    )


def _score(question: SetQuestion, relevant: frozenset[str], answer: AnswerRow) -> Mapping[str, float]:
    if not question.answerable:
        return {"refused": float(answer.abstained)}
    return {
        "answered": float(not answer.abstained),
        **(score_answer(answer.text, question) if question.answers or question.refs else {}),
        **(score_citations(answer.citations, relevant) if relevant else {}),
        **({"highlight F1": answers.token_f1(answer.highlight, question.answers)} if answer.highlight and question.answers else {}),
    }


def score_answer(text: str, question: SetQuestion) -> dict[str, float]:
    """Containment after 1..n sentences and in the whole, and F1, where the question has answers; ROUGE-L where it has references."""
    scores: dict[str, float] = {}
    if question.answers:
        for count in answers.SENTENCES:
            scores[f"contains@{count}"] = float(answers.contains_answer(answers.first_sentences(text, count), question.answers))
        scores["contains"] = float(answers.contains_answer(text, question.answers))
        scores["F1"] = answers.token_f1(text, question.answers)
    if question.refs:
        scores["ROUGE-L"] = answers.rouge_l(text, question.refs)
    return scores


def score_citations(citations: tuple[CitedSpan, ...], relevant: frozenset[str]) -> dict[str, float]:
    """Citation precision and recall of an answerable question's answer, 0 to 1. `relevant` holds at least one document id.

    A citation is right when its document is relevant in the judgements and its quote is what the stored document holds at its offsets.
    Precision is the share of right citations; there is none where nothing was cited. Recall is the share of the relevant documents that a right
    citation names, 0 for an answer that was refused. After Gao et al., "Enabling Large Language Models to Generate Text with Citations" (2023), with
    judgements in the place of their entailment model.
    """
    right = {citation.document_id for citation in citations if citation.is_right}
    scores = {"citation recall": len(right & relevant) / len(relevant)}
    if citations:
        scores["citation precision"] = sum(citation.is_right for citation in citations) / len(citations)
    return scores
