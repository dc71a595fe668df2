import asyncio
import math
from collections.abc import Callable

import pytest

from core.errors import DeadlineExceeded, DependencyUnavailable, EkibenError, GenerationFailed, Internal, InvalidRequest
from core.schemas import (
    Answer,
    AnswerRequest,
    BatchStats,
    GenerationItem,
    GenerationResult,
    SearchResponse,
    Sentence,
    TokenUsage,
    WritingStats,
)
from core.settings import AnsweringSettings
from pipelines.answering.answer import AnswerQuestion
from pipelines.answering.draft import NOT_FOUND, NOT_READ
from tests.pipelines.answering.fakes import CALIBRATION, LIMITS, FakeGenerator, FakeRetriever, Write, first_sentence, passage

HASTY = LIMITS.model_copy(update={"retrieve_timeout_s": 0.05, "summary_timeout_s": 0.05, "compose_timeout_s": 0.05})


async def _ask(retriever: FakeRetriever, generator: FakeGenerator, limits: AnsweringSettings = LIMITS, **options: object) -> Answer:
    request = AnswerRequest.model_validate({"question": "When was the bridge opened?"} | options)
    return await AnswerQuestion(retriever, generator, limits, CALIBRATION)(request)


def _raising(error: EkibenError) -> Write:
    async def write(_: GenerationItem) -> GenerationResult:
        raise error

    return write


def _failing(error: EkibenError) -> Write:
    async def write(_: GenerationItem) -> GenerationResult:
        return GenerationResult(error=error.info())

    return write


async def _never(_: GenerationItem) -> GenerationResult:
    await asyncio.Event().wait()
    raise AssertionError("nothing sets the event")


async def _silent(_: GenerationItem) -> GenerationResult:
    return GenerationResult()


async def test_every_sentence_of_an_answer_is_cited_at_characters_of_its_source() -> None:
    passages = [passage(1), passage(2, start=0)]
    answer = await _ask(FakeRetriever(passages), FakeGenerator())
    assert answer.answer == "The bridge number 1 was opened in 1901. The bridge number 2 was opened in 1902."
    assert (answer.abstained, answer.degraded, answer.notes) == (False, False, ())
    assert [citation.sentence for citation in answer.citations] == [0, 1]
    for citation, found in zip(answer.citations, passages, strict=True):
        assert found.text[citation.start - found.start : citation.end - found.start] == citation.quote
        assert (citation.document_id, citation.chunk_id, citation.page, citation.title) == (
            found.document_id,
            found.chunk_id,
            found.page,
            found.title,
        )
        assert citation.verified


async def test_the_search_is_asked_what_the_question_asks() -> None:
    retriever = FakeRetriever([passage(1)])
    await _ask(retriever, FakeGenerator(), top_k=7, mode="dense", filters={"year": 1901}, collections=["a", "b"], rerank=False)
    (search,) = retriever.requests
    assert (search.query, search.top_k, search.mode, search.rerank) == ("When was the bridge opened?", 7, "dense", False)
    assert (search.filters, search.collections) == ({"year": 1901}, ["a", "b"])


async def test_all_passages_are_summarized_at_the_same_time() -> None:
    generator = FakeGenerator()
    await _ask(FakeRetriever([passage(number) for number in range(8)]), generator)
    assert generator.most_at_once == 8
    assert len(generator.composed) == 1


async def test_summaries_are_given_the_score_of_their_passage_against_the_best() -> None:
    generator = FakeGenerator()
    await _ask(FakeRetriever([passage(1, score=8.0), passage(2, score=2.0), passage(3, score=-1.0)]), generator)
    assert [item.sources[0].score for item in generator.summarized] == [1.0, 0.25, 0.0]
    assert {item.max_sentences for item in generator.summarized} == {LIMITS.summary_sentences}


async def test_a_late_summary_is_left_out_and_noted() -> None:
    generator = FakeGenerator({"doc-2": _never})
    answer = await _ask(FakeRetriever([passage(1), passage(2), passage(3)]), generator, HASTY)
    assert answer.answer == "The bridge number 1 was opened in 1901. The bridge number 3 was opened in 1903."
    assert (answer.degraded, answer.abstained) == (True, False)
    assert answer.notes == ("no summary of doc-2#0: the summary took longer than 0.05 s",)
    assert [summary.error.code if summary.error else None for summary in answer.summaries] == [None, "deadline_exceeded", None]


@pytest.mark.parametrize("make", [_raising, _failing])
async def test_a_failed_summary_is_left_out_and_noted(make: Callable[[EkibenError], Write]) -> None:
    generator = FakeGenerator({"doc-1": make(GenerationFailed("the model broke"))})
    answer = await _ask(FakeRetriever([passage(1), passage(2)]), generator)
    assert answer.answer == "The bridge number 2 was opened in 1902."
    assert (answer.degraded, answer.notes) == (True, ("no summary of doc-1#0: the model broke",))


async def test_where_all_summaries_fail_the_answer_abstains_and_says_that_it_is_degraded() -> None:
    broken = _failing(GenerationFailed("the model broke"))
    answer = await _ask(FakeRetriever([passage(1), passage(2)]), FakeGenerator({"doc-1": broken, "doc-2": broken}))
    assert (answer.abstained, answer.degraded, answer.citations) == (True, True, ())
    assert answer.answer == NOT_READ
    assert len(answer.notes) == len(answer.passages) == 2


async def test_where_no_passage_says_anything_the_answer_abstains_without_being_degraded() -> None:
    answer = await _ask(FakeRetriever([passage(1)]), FakeGenerator({"doc-1": _silent}))
    assert (answer.abstained, answer.degraded, answer.answer) == (True, False, NOT_FOUND)


@pytest.mark.parametrize("write_answer", [_failing(GenerationFailed("broke")), _raising(DependencyUnavailable("down")), _never])
async def test_where_the_composition_fails_the_best_sentences_stand_in(write_answer: Write) -> None:
    passages = [passage(number, score=score) for number, score in ((1, 0.1), (2, 0.9), (3, 0.5), (4, 0.2))]
    answer = await _ask(FakeRetriever(passages), FakeGenerator(write_answer=write_answer), HASTY)
    assert [citation.document_id for citation in answer.citations] == ["doc-2", "doc-3", "doc-4"]
    assert all(citation.verified for citation in answer.citations)
    assert (answer.degraded, answer.abstained, len(answer.notes)) == (True, False, 1)
    assert "stand in for a composed answer" in answer.notes[0]


async def test_a_sentence_that_rests_on_no_source_is_left_out_and_noted() -> None:
    async def invent(item: GenerationItem) -> GenerationResult:
        quoted = Sentence(text=item.sources[0].text, supports=item.sources[0].supports)
        return GenerationResult(sentences=(quoted, Sentence(text="Nobody ever said so.")))

    answer = await _ask(FakeRetriever([passage(1)]), FakeGenerator(write_answer=invent))
    assert "Nobody" not in answer.answer
    assert answer.citations
    assert answer.degraded
    assert answer.notes == ("sentences that no source bears out were left out: 1",)


async def test_a_composition_without_sentences_abstains() -> None:
    answer = await _ask(FakeRetriever([passage(1)]), FakeGenerator(write_answer=_silent))
    assert (answer.abstained, answer.degraded, answer.answer) == (True, False, NOT_FOUND)


@pytest.mark.parametrize("error", [DependencyUnavailable("down"), InvalidRequest("no")])
async def test_a_failed_retrieval_is_raised(error: EkibenError) -> None:
    class Broken(FakeRetriever):
        async def search(self, _: object) -> SearchResponse:
            raise error

    with pytest.raises(type(error), match=error.message):
        await _ask(Broken([]), FakeGenerator())


async def test_a_late_retrieval_is_raised_as_a_deadline() -> None:
    class Late(FakeRetriever):
        async def search(self, _: object) -> SearchResponse:
            await asyncio.Event().wait()
            raise AssertionError("nothing sets the event")

    with pytest.raises(DeadlineExceeded, match=r"the retrieval took longer than 0\.05 s"):
        await _ask(Late([]), FakeGenerator(), HASTY)


async def test_the_callers_own_deadline_is_not_taken_for_a_late_summary() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await _ask(FakeRetriever([passage(1)]), FakeGenerator({"doc-1": _never}))


@pytest.mark.parametrize(("cosine", "abstains"), [(0.349, True), (0.35, False), (-0.2, True)])
async def test_below_the_threshold_the_answer_abstains_but_shows_what_was_found(cosine: float, abstains: bool) -> None:
    answer = await _ask(FakeRetriever([passage(1, cosine=cosine), passage(2, cosine=-1.0)]), FakeGenerator())
    assert (answer.abstained, answer.answer == NOT_FOUND, answer.citations == ()) == (abstains, abstains, abstains)
    assert answer.confidence == pytest.approx(1 / (1 + math.exp(3.5 - 10 * cosine)), abs=1e-4)
    assert len(answer.passages) == len(answer.summaries) == 2
    assert not answer.degraded


async def test_the_setting_beats_the_fitted_threshold() -> None:
    strict, lax = (LIMITS.model_copy(update={"min_confidence": limit}) for limit in (0.999, 0.0))
    assert (await _ask(FakeRetriever([passage(1)]), FakeGenerator(), strict)).abstained
    assert not (await _ask(FakeRetriever([passage(1, cosine=-1.0)]), FakeGenerator(), lax)).abstained


async def test_where_nothing_is_found_the_answer_abstains() -> None:
    answer = await _ask(FakeRetriever([]), FakeGenerator())
    assert (answer.abstained, answer.confidence, answer.answer) == (True, None, NOT_FOUND)
    assert (answer.passages, answer.citations, answer.summaries) == ((), (), ())


async def test_a_lexical_search_answers_without_a_confidence() -> None:
    answer = await _ask(FakeRetriever([passage(1, cosine=None)]), FakeGenerator(), mode="lexical")
    assert (answer.abstained, answer.confidence) == (False, None)


async def test_a_degraded_search_makes_a_degraded_answer() -> None:
    answer = await _ask(FakeRetriever([passage(1)], degraded=True, notes=["words alone"]), FakeGenerator())
    assert (answer.degraded, answer.notes) == (True, ("words alone",))


async def test_debug_adds_what_went_in_and_only_when_asked_for() -> None:
    assert (await _ask(FakeRetriever([passage(1)]), FakeGenerator())).debug is None
    answer = await _ask(FakeRetriever([passage(1)]), FakeGenerator(), debug=True)
    assert answer.debug is not None
    assert (answer.debug.index_version, answer.debug.retrieval_ms, answer.debug.summary_batches) == (7, {"embed": 1.0}, (None,))


def _costing(prompt_tokens: int, new_tokens: int) -> Write:
    async def write(item: GenerationItem) -> GenerationResult:
        stats = WritingStats(prompts=1, prompt_tokens=prompt_tokens, new_tokens=new_tokens, rows=4, tokens=60, padding=0.25)
        (source, *_) = item.sources
        said = first_sentence(source) if source.span else Sentence(text=source.text, supports=source.supports)
        return GenerationResult(sentences=(said,), writing=stats, batch=BatchStats(items=2, compute_ms=1.0))

    return write


async def test_usage_adds_up_what_a_language_model_read_and_wrote_and_debug_has_the_parts() -> None:
    generator = FakeGenerator({"doc-1": _costing(70, 9), "doc-2": _costing(50, 8)}, write_answer=_costing(30, 7))
    answer = await _ask(FakeRetriever([passage(1), passage(2), passage(3)]), generator, debug=True)
    assert answer.usage == TokenUsage(prompt_tokens=150, new_tokens=24)
    assert answer.debug is not None
    assert [one and one.new_tokens for one in answer.debug.summary_writing] == [9, 8, None]
    assert answer.debug.compose_writing == WritingStats(prompts=1, prompt_tokens=30, new_tokens=7, rows=4, tokens=60, padding=0.25)
    assert answer.debug.compose_batch == BatchStats(items=2, compute_ms=1.0)


async def test_without_a_language_model_there_is_no_usage() -> None:
    assert (await _ask(FakeRetriever([passage(1)]), FakeGenerator())).usage is None


async def test_timings_name_the_stages_and_add_up() -> None:
    timings = (await _ask(FakeRetriever([passage(1)]), FakeGenerator())).timings_ms
    assert list(timings) == ["retrieve", "summarize", "compose", "verify", "total"]
    assert timings["total"] == pytest.approx(sum(list(timings.values())[:-1]), abs=0.1)


async def test_fifty_questions_at_once_stay_apart() -> None:
    class Echo(FakeRetriever):
        """Finds passages that begin with the question."""

        async def search(self, request: object) -> SearchResponse:
            await asyncio.sleep(0)
            number = int(request.query.split()[-1])  # type: ignore[attr-defined]
            return SearchResponse(passages=tuple(passage(number * 10 + rank, f"Fact {number} of rank {rank}.") for rank in range(3)))

    generator = FakeGenerator()
    answering = AnswerQuestion(Echo([]), generator, LIMITS, CALIBRATION)
    answers = await asyncio.gather(*(answering(AnswerRequest(question=f"question {number}")) for number in range(50)))
    for number, answer in enumerate(answers):
        assert answer.answer == " ".join(f"Fact {number} of rank {rank}." for rank in range(3))
        assert [citation.document_id for citation in answer.citations] == [f"doc-{number * 10 + rank}" for rank in range(3)]
    assert len({answer.id for answer in answers}) == 50
    assert generator.most_at_once > 3


async def test_a_wrong_citation_of_the_generator_is_removed_or_marked() -> None:
    async def lying(item: GenerationItem) -> GenerationResult:
        sentence = first_sentence(item.sources[0])
        (span,) = sentence.supports
        shifted = span.model_copy(update={"start": span.start + 1, "end": span.end + 1})
        return GenerationResult(sentences=(Sentence(text=sentence.text, supports=(shifted,)),))

    found, generator = FakeRetriever([passage(1), passage(2)]), FakeGenerator({"doc-1": lying})
    marked = await _ask(found, generator, LIMITS.model_copy(update={"unverified": "mark"}))
    assert [(citation.document_id, citation.verified) for citation in marked.citations] == [("doc-1", False), ("doc-2", True)]
    answer = await _ask(found, generator)
    assert [(citation.sentence, citation.document_id, citation.verified) for citation in answer.citations] == [(0, "doc-2", True)]
    assert answer.answer == "The bridge number 2 was opened in 1902."
    assert answer.notes == ("sentences that no source bears out were left out: 1",)
    (alone,) = [await _ask(FakeRetriever([passage(1)]), generator)]
    assert (alone.abstained, alone.degraded, alone.answer) == (True, True, NOT_FOUND)


async def test_a_sentence_keeps_the_citation_that_holds() -> None:
    async def partly(item: GenerationItem) -> GenerationResult:
        sentence = first_sentence(item.sources[0])
        (span,) = sentence.supports
        foreign = span.model_copy(update={"chunk_id": "never-retrieved#0"})
        shifted = span.model_copy(update={"start": span.start + 1, "end": span.end + 1})
        return GenerationResult(sentences=(Sentence(text=sentence.text, supports=(foreign, shifted, span)),))

    answer = await _ask(FakeRetriever([passage(1)]), FakeGenerator({"doc-1": partly}))
    assert [(citation.start, citation.verified) for citation in answer.citations] == [(100, True)]


async def test_a_fault_of_ours_is_not_taken_for_a_failed_summary() -> None:
    async def buggy(_: GenerationItem) -> GenerationResult:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await _ask(FakeRetriever([passage(1)]), FakeGenerator({"doc-1": buggy}))


async def test_an_internal_error_of_the_generator_costs_its_summary_only() -> None:
    answer = await _ask(FakeRetriever([passage(1), passage(2)]), FakeGenerator({"doc-1": _raising(Internal("a fault"))}))
    assert (answer.degraded, answer.abstained) == (True, False)
