import pytest

from core.errors import ErrorInfo
from core.schemas import Answer, ChannelScores, Citation, Passage, SearchResponse
from pipelines.evaluation.judging import Responses, judge, score_citations
from pipelines.evaluation.question_sets import SetQuestion
from pipelines.evaluation.report import CitedSpan

TEXTS = {"d1": "The tunnel is 57 km long. It was dug in 17 years.", "d2": "The pass is closed."}
QUESTION = SetQuestion(id="q", text="How long is the tunnel?", answers=("57 km",))


def passage(document_id: str = "d1", start: int = 0, end: int = 25, text: str | None = None) -> Passage:
    return Passage(
        document_id=document_id,
        chunk_id=f"{document_id}#0",
        collection="c",
        title="",
        start=start,
        end=end,
        text=TEXTS[document_id][start:end] if text is None else text,
        score=1,
        scores=ChannelScores(),
    )


def citation(document_id: str = "d1", start: int = 0, end: int = 25, quote: str | None = None) -> Citation:
    place = {"chunk_id": "", "collection": "c", "title": "", "page": None, "verified": True, "sentence": 0}
    text = TEXTS.get(document_id, "")[start:end] if quote is None else quote
    return Citation(document_id=document_id, start=start, end=end, quote=text, **place)


def answer(text: str = TEXTS["d1"], citations: tuple[Citation, ...] = (), passages: tuple[Passage, ...] = (), *, abstained: bool = False) -> Answer:
    return Answer(
        id="a",
        question="",
        answer=text,
        abstained=abstained,
        confidence=0.5,
        degraded=False,
        citations=citations,
        passages=passages,
        summaries=(),
        timings_ms={},
    )


def test_an_answer_is_scored_in_all_respects() -> None:
    responses = Responses(searches={"hybrid": SearchResponse(passages=(passage("d2", 0, 3), passage()))}, answer=answer(citations=(citation(),)))
    judged = judge(QUESTION, frozenset({"d1", "d2"}), responses, TEXTS.get)
    assert judged.found == {"hybrid": ("d2", "d1")}
    # 57, km among: tunnel is 57 km long it was dug in 17 years.
    assert judged.scores.pop("F1") == pytest.approx(2 * 2 / (11 + 2))
    assert judged.scores == {
        "answered": 1,
        "contains@1": 1,
        "contains@2": 1,
        "contains@3": 1,
        "contains": 1,
        "citation precision": 1,
        "citation recall": 0.5,
    }
    assert (judged.offsets_checked, judged.offsets_broken) == (3, 0)


def test_an_answer_in_the_second_sentence_is_contained_from_there_on() -> None:
    judged = judge(QUESTION.model_copy(update={"answers": ("17 years",)}), frozenset(), Responses(answer=answer()), TEXTS.get)
    assert [judged.scores[f"contains@{count}"] for count in (1, 2, 3)] == [0, 1, 1]


def test_a_refused_answer_says_nothing() -> None:
    refused = answer("The documents do not answer: 57 km", abstained=True)
    judged = judge(QUESTION, frozenset({"d1"}), Responses(answer=refused), TEXTS.get)
    assert judged.answer is not None
    assert judged.answer.text == ""
    assert judged.scores == {"answered": 0, "citation recall": 0, "F1": 0, **dict.fromkeys(("contains@1", "contains@2", "contains@3", "contains"), 0)}


@pytest.mark.parametrize("abstained", [True, False])
def test_an_unanswerable_question_is_scored_by_its_refusal_alone(abstained: bool) -> None:
    question = SetQuestion(id="q", text="?", answerable=False)
    judged = judge(question, frozenset({"d1"}), Responses(answer=answer(citations=(citation(),), abstained=abstained)), TEXTS.get)
    assert judged.scores == {"refused": float(abstained)}


def test_references_are_scored_by_rouge() -> None:
    question = SetQuestion(id="q", text="?", refs=("The pass is closed.",))
    judged = judge(question, frozenset(), Responses(answer=answer("The pass is closed.")), TEXTS.get)
    assert judged.scores == {"answered": 1, "ROUGE-L": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        citation(quote="The tunnel is 58 km long."),
        citation(start=1, quote=TEXTS["d1"][0:25]),
        citation(end=1_000),
        citation(start=5, end=5),
        citation(start=-20, end=-10, quote=TEXTS["d1"][-20:-10]),
        citation("gone", quote="x"),
        citation(start=9).model_copy(update={"context_start": 0, "context": "The bridge "}),
        citation(start=9).model_copy(update={"highlights": ((8, 12),)}),
        citation().model_copy(update={"highlights": ((5, 26),)}),
    ],
    ids=["other text", "moved", "past the end", "nothing", "negative", "no document", "other context", "mark before it", "mark past it"],
)
def test_a_quote_that_does_not_stand_there_is_broken_and_no_right_citation(wrong: Citation) -> None:
    judged = judge(QUESTION, frozenset({"d1", "gone"}), Responses(answer=answer(citations=(wrong, citation()))), TEXTS.get)
    assert (judged.offsets_checked, judged.offsets_broken) == (2, 1)
    assert judged.scores["citation precision"] == 0.5


def test_a_marked_short_answer_is_scored_where_there_is_one() -> None:
    marked = citation(start=4).model_copy(update={"context_start": 0, "context": "The ", "highlights": ((14, 19),)})
    judged = judge(QUESTION, frozenset({"d1"}), Responses(answer=answer(citations=(citation("d2", 0, 3), marked))), TEXTS.get)
    assert judged.scores["highlight F1"] == 1
    assert (judged.offsets_checked, judged.offsets_broken) == (2, 0)
    assert "highlight F1" not in judge(QUESTION, frozenset(), Responses(answer=answer(citations=(citation(),))), TEXTS.get).scores


@pytest.mark.parametrize(("search", "said"), [(True, False), (False, True), (False, False)])
def test_a_question_is_degraded_where_its_answer_or_a_search_is(search: bool, said: bool) -> None:
    searches = {"dense": SearchResponse(passages=()), "hybrid": SearchResponse(passages=(), degraded=search)}
    judged = judge(QUESTION, frozenset(), Responses(searches=searches, answer=answer().model_copy(update={"degraded": said})), TEXTS.get)
    assert judged.degraded is (search or said)


def test_passages_that_do_not_stand_there_are_broken_in_answers_and_searches() -> None:
    wrong = passage(text="something else")
    responses = Responses(searches={"dense": SearchResponse(passages=(wrong,))}, answer=answer(passages=(wrong, passage())))
    judged = judge(QUESTION, frozenset(), responses, TEXTS.get)
    assert (judged.offsets_checked, judged.offsets_broken) == (3, 2)


def test_a_failed_question_has_its_error_and_no_scores() -> None:
    error = ErrorInfo(code="internal", message="oops")
    judged = judge(QUESTION, frozenset({"d1"}), Responses(answer=answer(), error=error), TEXTS.get)
    assert (judged.error, judged.scores, judged.answer) == (error, {}, None)


def span(document_id: str, *, resolves: bool = True, relevant: bool = True) -> CitedSpan:
    return CitedSpan(document_id=document_id, start=0, end=1, resolves=resolves, relevant=relevant)


def test_citations_are_scored_as_by_hand() -> None:
    cited = (span("a"), span("a"), span("x", relevant=False), span("b", resolves=False))
    assert score_citations(cited, frozenset({"a", "b", "c"})) == {"citation precision": 0.5, "citation recall": pytest.approx(1 / 3)}
    assert score_citations((), frozenset({"a"})) == {"citation recall": 0}
