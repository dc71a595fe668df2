"""The answer as events: what comes when, that it is what the unary call returns, and what happens when it fails or nobody listens."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest
from pydantic import TypeAdapter

from core.errors import DeadlineExceeded, DependencyUnavailable, EkibenError, GenerationFailed
from core.schemas import (
    Answer,
    AnswerEvent,
    AnswerRequest,
    CitationsEvent,
    DoneEvent,
    GenerationDone,
    GenerationEvent,
    GenerationItem,
    GenerationResult,
    GenerationSentence,
    GenerationText,
    RetrievedEvent,
    Sentence,
    SummaryEvent,
    TokenEvent,
)
from core.settings import AnsweringSettings
from pipelines.answering.answer import AnswerQuestion
from pipelines.answering.draft import NOT_FOUND, NOT_READ
from tests.pipelines.answering.fakes import CALIBRATION, LIMITS, FakeGenerator, FakeRetriever, Stream, Write, passage

MARKING = LIMITS.model_copy(update={"unverified": "mark"})
REQUEST = AnswerRequest(question="When was the bridge opened?", debug=True)


def _asking(retriever: FakeRetriever, generator: FakeGenerator, limits: AnsweringSettings = LIMITS) -> AnswerQuestion:
    return AnswerQuestion(retriever, generator, limits, CALIBRATION)


async def _events(retriever: FakeRetriever, generator: FakeGenerator, limits: AnsweringSettings = LIMITS) -> list[AnswerEvent]:
    return [event async for event in _asking(retriever, generator, limits).stream(REQUEST)]


def _answer_in(events: list[AnswerEvent]) -> Answer:
    assert isinstance(events[-1], DoneEvent)
    return events[-1].data


def _tokens(events: list[AnswerEvent]) -> list[str]:
    return [event.data.text for event in events if isinstance(event, TokenEvent)]


def _same(answer: Answer) -> dict[str, object]:
    return answer.model_dump(exclude={"id", "timings_ms"})


async def _broken(_: GenerationItem) -> GenerationResult:
    raise GenerationFailed("the model broke")


async def _silent(_: GenerationItem) -> GenerationResult:
    return GenerationResult()


async def _never(_: GenerationItem) -> GenerationResult:
    await asyncio.Event().wait()
    raise AssertionError("nothing sets the event")


async def _inventing(item: GenerationItem) -> GenerationResult:
    quoted = Sentence(text=item.sources[0].text, supports=item.sources[0].supports)
    changed = Sentence(text="The bridge number 1 was opened in 1999.", supports=item.sources[0].supports)
    return GenerationResult(sentences=(Sentence(text="Nobody ever said so."), quoted, changed))


async def test_events_come_in_the_order_of_the_journey_and_fit_the_wire_type() -> None:
    events = await _events(FakeRetriever([passage(1), passage(2)], notes=["words alone"], degraded=True), FakeGenerator())
    assert [event.event for event in events] == ["retrieved", "summary", "summary", "token", "token", "citations", "done"]
    retrieved, done = events[0], events[-1]
    assert isinstance(retrieved, RetrievedEvent)
    assert isinstance(done, DoneEvent)
    assert (retrieved.data.id, retrieved.data.passages) == (done.data.id, done.data.passages)
    assert (retrieved.data.degraded, retrieved.data.notes, list(retrieved.data.timings_ms)) == (True, ("words alone",), ["retrieve"])
    adapter: TypeAdapter[AnswerEvent] = TypeAdapter(AnswerEvent)
    assert [adapter.validate_json(adapter.dump_json(event)) for event in events] == events


WORLDS: dict[str, tuple[Callable[[], FakeRetriever], Callable[[], FakeGenerator]]] = {
    "answered": (lambda: FakeRetriever([passage(1), passage(2)]), FakeGenerator),
    "degraded search": (lambda: FakeRetriever([passage(1)], degraded=True, notes=["words alone"]), FakeGenerator),
    "nothing found": (lambda: FakeRetriever([]), FakeGenerator),
    "refused": (lambda: FakeRetriever([passage(1, cosine=0.1)]), FakeGenerator),
    "lexical": (lambda: FakeRetriever([passage(1, cosine=None)]), FakeGenerator),
    "a summary failed": (lambda: FakeRetriever([passage(1), passage(2)]), lambda: FakeGenerator({"doc-1": _broken})),
    "all summaries failed": (lambda: FakeRetriever([passage(1)]), lambda: FakeGenerator({"doc-1": _broken})),
    "silent summaries": (lambda: FakeRetriever([passage(1)]), lambda: FakeGenerator({"doc-1": _silent})),
    "composition failed": (lambda: FakeRetriever([passage(1), passage(2)]), lambda: FakeGenerator(write_answer=_broken)),
    "silent composition": (lambda: FakeRetriever([passage(1)]), lambda: FakeGenerator(write_answer=_silent)),
    "invented sentences": (lambda: FakeRetriever([passage(1)]), lambda: FakeGenerator(write_answer=_inventing)),
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("limits", [LIMITS, MARKING], ids=["remove", "mark"])
async def test_done_is_the_unary_answer_and_the_tokens_are_its_text(world: str, limits: AnsweringSettings) -> None:
    retriever, generator = WORLDS[world]
    unary = await _asking(retriever(), generator(), limits)(REQUEST)
    events = await _events(retriever(), generator(), limits)
    answer = _answer_in(events)
    assert "".join(_tokens(events)) == answer.answer
    citations = next(event.data for event in events if isinstance(event, CitationsEvent))
    assert (citations.sentences, citations.citations) == (answer.sentences, answer.citations)
    assert list(answer.timings_ms) == [*list(unary.timings_ms)[:-1], "first_token", "total"]
    if world == "invented sentences" and limits is MARKING:
        return  # what was sent can't be left out: see the test of it
    assert _same(answer) == _same(unary)


async def test_summaries_come_as_they_are_done() -> None:
    first = asyncio.Event()

    async def late(item: GenerationItem) -> GenerationResult:
        await first.wait()
        return GenerationResult()

    seen: list[int] = []
    async for event in _asking(FakeRetriever([passage(1), passage(2), passage(3)]), FakeGenerator({"doc-1": late, "doc-3": _broken})).stream(REQUEST):
        if isinstance(event, SummaryEvent):
            seen.append(event.data.index)
            assert event.data.summary.document_id == f"doc-{event.data.index + 1}"
            assert (event.data.summary.error is not None) == (event.data.index == 2)
        if set(seen) == {1, 2}:
            first.set()
    assert sorted(seen[:2]) == [1, 2]
    assert seen[2:] == [0]


async def test_where_sentences_are_removed_none_is_sent_before_it_is_checked() -> None:
    events = await _events(FakeRetriever([passage(1)]), FakeGenerator(write_answer=_inventing))
    assert _tokens(events) == ["The bridge number 1 was opened in 1901."]
    assert _answer_in(events).notes == ("sentences that no source bears out were left out: 2",)


async def test_where_sentences_are_marked_tokens_come_as_the_model_writes_them() -> None:
    events = await _events(FakeRetriever([passage(1)]), FakeGenerator(), MARKING)
    assert _tokens(events) == ["The", " bridge", " number", " 1", " was", " opened", " in", " 1901."]


async def test_a_sentence_without_a_source_that_was_sent_already_stays_uncited_and_is_noted() -> None:
    events = await _events(FakeRetriever([passage(1)]), FakeGenerator(write_answer=_inventing), MARKING)
    answer = _answer_in(events)
    assert answer.answer == "Nobody ever said so. The bridge number 1 was opened in 1901. The bridge number 1 was opened in 1999."
    assert [(citation.sentence, citation.verified) for citation in answer.citations] == [(1, True), (2, False)]
    assert (answer.degraded, answer.notes) == (True, ("sentences that no source bears out were sent: 1",))


async def test_below_the_threshold_nothing_is_composed() -> None:
    for ask in ("unary", "stream"):
        generator = FakeGenerator()
        asking = _asking(FakeRetriever([passage(1, cosine=0.1)]), generator)
        answer = await asking(REQUEST) if ask == "unary" else _answer_in([event async for event in asking.stream(REQUEST)])
        assert (answer.abstained, answer.answer, generator.composed, generator.streamed) == (True, NOT_FOUND, [], [])


async def test_an_answer_that_says_nothing_is_sent_as_a_token() -> None:
    for generator, text in ((FakeGenerator({"doc-1": _silent}), NOT_FOUND), (FakeGenerator({"doc-1": _broken}), NOT_READ)):
        assert _tokens(await _events(FakeRetriever([passage(1)]), generator)) == [text]


def _breaking_after(sentences: int, error: EkibenError, *, told: bool) -> Stream:
    """Streams some sentences, then fails: by its last event where `told`, else by raising."""

    async def stream(item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
        for source in item.sources[:sentences]:
            yield GenerationText(text=source.text)
            yield GenerationSentence(sentence=Sentence(text=source.text, supports=source.supports))
        if not told:
            raise error
        yield GenerationDone(result=GenerationResult(error=error.info()))

    return stream


@pytest.mark.parametrize("limits", [LIMITS, MARKING], ids=["remove", "mark"])
@pytest.mark.parametrize("told", [True, False], ids=["told", "raised"])
async def test_a_composition_that_fails_midway_is_raised_after_what_was_sent(told: bool, limits: AnsweringSettings) -> None:
    generator = FakeGenerator(write_stream=_breaking_after(1, DependencyUnavailable("gone"), told=told))
    seen: list[AnswerEvent] = []
    with pytest.raises(DependencyUnavailable, match="gone"):
        async for event in _asking(FakeRetriever([passage(1), passage(2)]), generator, limits).stream(REQUEST):
            seen.append(event)  # noqa: PERF401
    assert _tokens(seen) == ["The bridge number 1 was opened in 1901."]
    assert generator.closed_streams == 1


@pytest.mark.parametrize("limits", [LIMITS, MARKING], ids=["remove", "mark"])
@pytest.mark.parametrize("told", [True, False], ids=["told", "raised"])
async def test_where_a_stream_fails_before_its_first_token_the_best_sentences_stand_in(told: bool, limits: AnsweringSettings) -> None:
    generator = FakeGenerator(write_stream=_breaking_after(0, DependencyUnavailable("gone"), told=told))
    events = await _events(FakeRetriever([passage(1), passage(2)]), generator, limits)
    answer = _answer_in(events)
    assert answer.answer == "".join(_tokens(events)) == "The bridge number 1 was opened in 1901. The bridge number 2 was opened in 1902."
    assert (answer.degraded, answer.notes) == (True, ("the best sentences of the summaries stand in for a composed answer: gone",))
    assert all(citation.verified for citation in answer.citations)


async def _stalling(item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
    yield GenerationSentence(sentence=Sentence(text=item.sources[0].text, supports=item.sources[0].supports))
    await asyncio.Event().wait()


async def test_a_stream_that_stalls_is_late_and_closed() -> None:
    generator = FakeGenerator(write_stream=_stalling)
    hasty = LIMITS.model_copy(update={"compose_timeout_s": 0.05})
    with pytest.raises(DeadlineExceeded, match=r"the composition took longer than 0\.05 s"):
        await _events(FakeRetriever([passage(1)]), generator, hasty)
    assert generator.closed_streams == 1


async def test_the_time_that_the_reader_takes_cancels_nobody() -> None:
    hasty = LIMITS.model_copy(update={"retrieve_timeout_s": 0.05, "summary_timeout_s": 0.05, "compose_timeout_s": 0.05})
    events = []
    async for event in _asking(FakeRetriever([passage(1)]), FakeGenerator(), hasty).stream(REQUEST):
        events.append(event)
        await asyncio.sleep(0.06)
    assert not _answer_in(events).abstained


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_whole_answer_has_a_deadline_that_leaves_a_degraded_one(streamed: bool) -> None:
    hasty = LIMITS.model_copy(update={"answer_timeout_s": 0.05})
    asking = _asking(FakeRetriever([passage(1), passage(2)]), FakeGenerator({"doc-2": _never}, write_answer=_never), hasty)
    answer = _answer_in([event async for event in asking.stream(REQUEST)]) if streamed else await asking(REQUEST)
    late = "the answer took longer than 0.05 s"
    assert answer.notes == (f"no summary of doc-2#0: {late}", f"the best sentences of the summaries stand in for a composed answer: {late}")
    assert answer.answer == "The bridge number 1 was opened in 1901."


@pytest.mark.parametrize("stop_at", ["retrieved", "summary", "token"])
async def test_whoever_stops_reading_stops_the_work(stop_at: str) -> None:
    slow: Write = _never if stop_at == "retrieved" else _silent
    generator = FakeGenerator({"doc-2": slow}, write_stream=_stalling)
    before = asyncio.all_tasks()
    events = _asking(FakeRetriever([passage(1), passage(2)]), generator).stream(REQUEST)
    async for event in events:
        if event.event == stop_at:
            break
    await asyncio.sleep(0)  # summaries begin
    await events.aclose()
    assert asyncio.all_tasks() == before
    assert generator.at_once == 0
    assert generator.closed_streams == len(generator.streamed) == (stop_at == "token")


async def test_cancelling_the_reader_stops_the_summaries() -> None:
    begun = asyncio.Event()

    async def begin(item: GenerationItem) -> GenerationResult:
        begun.set()
        return await _never(item)

    generator = FakeGenerator({"doc-1": begin})
    reader = asyncio.create_task(_events(FakeRetriever([passage(1)]), generator))
    await begun.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert generator.at_once == 0
