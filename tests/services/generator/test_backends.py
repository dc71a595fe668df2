"""What every backend keeps, whatever it writes with."""

import pytest

from core.schemas import GenerationDone, GenerationItem, GenerationResult, GenerationSentence, Sentence
from services.generator.backend import Backend
from tests.services.generator.samples import OTHER_TEXT, TEXT, facts, item

LONG = "train " * 300

BATCH = [
    item(TEXT),
    item(OTHER_TEXT, question="What is sold at Mori?"),
    item("Trains run."),
    item(TEXT, question="How cold is {winter} in % or %s of {0}?", start=0),
    item("😀 新幹線は速い。 Ça va, naïve café — “quoted”.", question="新幹線?"),
    item(f"{TEXT} {OTHER_TEXT}", max_sentences=1),
]
FACTS = [
    facts("It was opened in March of the year 1988.", "Trains run under the Tsugaru Strait."),
    facts("Squid stuffed with rice is sold at Mori station.", question="What {is} 100% sold?"),
    facts("新幹線は速い。", "😀"),
    facts("It was opened.", "The tunnel joins Honshu.", "The island is cold.", "The box costs little money.", max_sentences=2),
]


@pytest.fixture(params=["extractive", "t5", "bart", "qwen", "chat", "plain"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def _same(one: GenerationResult, other: GenerationResult) -> bool:
    def pale(sentence: Sentence) -> Sentence:
        return sentence.model_copy(update={"score": round(sentence.score, 5)})

    return one.error == other.error and list(map(pale, one.sentences)) == list(map(pale, other.sentences))


def test_a_backend_says_what_it_is(backend: Backend) -> None:
    assert backend.info.backend in ("extractive", "seq2seq", "causal", "scripted")


async def test_a_batch_of_summaries_equals_as_many_batches_of_one(backend: Backend) -> None:
    together = await backend.summarize(BATCH)
    assert len(together) == len(BATCH)
    assert not any(result.error for result in together[:3])
    # What random weights write chatters on without a sentence now and then.
    assert all(result.sentences for result in together[:3]) or backend.info.backend == "causal"
    for one, result in zip(BATCH, together, strict=True):
        (alone,) = await backend.summarize([one])
        assert _same(result, alone)


async def test_a_batch_of_compositions_equals_as_many_batches_of_one(backend: Backend) -> None:
    together = await backend.compose(FACTS)
    assert len(together) == len(FACTS)
    for one, result in zip(FACTS, together, strict=True):
        (alone,) = await backend.compose([one])
        assert _same(result, alone)


async def test_a_stream_ends_with_what_compose_returns(backend: Backend) -> None:
    for one in FACTS:
        (whole,) = await backend.compose([one])
        *pieces, last = [event async for event in backend.stream(one)]
        assert isinstance(last, GenerationDone)
        assert _same(last.result, whole)
        assert tuple(event.sentence for event in pieces if isinstance(event, GenerationSentence)) in ((), last.result.sentences)


async def test_results_come_in_the_order_of_the_items(backend: Backend) -> None:
    forth, back = await backend.summarize(BATCH), await backend.summarize(BATCH[::-1])
    assert all(_same(one, other) for one, other in zip(forth, list(back)[::-1], strict=True))


async def test_a_summary_rests_on_spans_of_its_own_passage(backend: Backend) -> None:
    for one, result in zip(BATCH, await backend.summarize(BATCH), strict=True):
        (source,) = one.sources
        assert source.span is not None
        for span in (span for sentence in result.sentences for span in sentence.supports):
            assert (span.document_id, span.chunk_id) == (source.span.document_id, source.span.chunk_id)
            assert source.text[span.start - source.span.start : span.end - source.span.start] == span.quote


async def test_an_answer_rests_on_spans_of_its_sources(backend: Backend) -> None:
    for one, result in zip(FACTS, await backend.compose(FACTS), strict=True):
        given = {span for source in one.sources for span in source.supports}
        assert {span for sentence in result.sentences for span in sentence.supports} <= given


async def test_no_more_sentences_are_written_than_asked_for(backend: Backend) -> None:
    for one, result in zip(BATCH, await backend.summarize(BATCH), strict=True):
        assert len(result.sentences) <= one.max_sentences
    for one, result in zip(FACTS, await backend.compose(FACTS), strict=True):
        assert len(result.sentences) <= one.max_sentences


async def test_sentences_are_trimmed_and_never_empty(backend: Backend) -> None:
    results = [*await backend.summarize([*BATCH, item(" \n ")]), *await backend.compose(FACTS)]
    assert [sentence for result in results for sentence in result.sentences if sentence.text != sentence.text.strip() or not sentence.text] == []


async def test_an_item_without_sources_has_no_sentences_and_harms_no_other(backend: Backend) -> None:
    good = item(TEXT)
    first, empty, last = await backend.summarize([good, item(), good])
    (alone,) = await backend.summarize([good])
    assert empty.sentences == ()
    assert _same(first, alone)
    assert _same(last, alone)
    assert (await backend.compose([facts()]))[0].sentences == ()


async def test_no_items_have_no_results(backend: Backend) -> None:
    no_items: list[GenerationItem] = []
    assert list(await backend.summarize(no_items)) == list(await backend.compose(no_items)) == []


async def test_an_overlong_item_harms_no_other(backend: Backend) -> None:
    good = item(TEXT)
    results = await backend.summarize([good, item(LONG), good])
    (alone,) = await backend.summarize([good])
    assert _same(results[0], alone)
    assert _same(results[2], alone)
