"""Backends stream in different ways; the text and the sentences of a composition are the same."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from core.schemas import GenerationDone, GenerationEvent, GenerationItem, GenerationResult, GenerationSentence, GenerationText, Sentence, Source
from pipelines.answering.composition import Composition, best_sentences, sources_of
from pipelines.answering.stages import Stages
from tests.pipelines.answering.fakes import LIMITS, FakeGenerator, Stream, passage

MARKING = LIMITS.model_copy(update={"unverified": "mark"})
PASSAGES = [passage(1), passage(2)]
TEXT = "The bridge number 1 was opened in 1901. The bridge number 2 was opened in 1902."


async def _summaries() -> list[GenerationResult]:
    from pipelines.answering.summaries import _source

    generator = FakeGenerator()
    return [await generator.summarize(_item([_source(one, PASSAGES)])) for one in PASSAGES]


def _item(sources: Sequence[Source]) -> GenerationItem:
    return GenerationItem(question="When?", sources=tuple(sources), max_sentences=3)


def _sentences(item: GenerationItem) -> list[Sentence]:
    return [Sentence(text=source.text, supports=source.supports) for source in item.sources]


async def _result_only(item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
    yield GenerationDone(result=GenerationResult(sentences=tuple(_sentences(item))))


async def _texts_then_result(item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
    for word in TEXT.split(" "):
        yield GenerationText(text=f" {word}")
    yield GenerationDone(result=GenerationResult(sentences=tuple(_sentences(item))))


async def _last_sentence_untold(item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
    yield GenerationText(text=TEXT)
    yield GenerationSentence(sentence=_sentences(item)[0])
    yield GenerationDone(result=GenerationResult(sentences=tuple(_sentences(item))))


@pytest.mark.parametrize("stream", [None, _result_only, _texts_then_result, _last_sentence_untold])
@pytest.mark.parametrize("limits", [LIMITS, MARKING], ids=["remove", "mark"])
async def test_a_stream_says_what_its_result_says_however_it_comes(stream: Stream | None, limits: object) -> None:
    summaries = await _summaries()
    composition = Composition(FakeGenerator(write_stream=stream), limits, PASSAGES, streamed=True)  # type: ignore[arg-type]
    item = _item(sources_of(summaries))
    pieces = [text async for text in composition.write(item, summaries, Stages(10).deadline(5, "the composition"))]
    assert "".join(pieces) == composition.text == TEXT
    assert [sentence.text for sentence in composition.sentences] == [sentence.text for sentence in _sentences(item)]
    assert composition.notes == []


async def test_the_best_sentences_are_those_with_the_highest_scores_and_ties_stay_in_order() -> None:
    summaries = [GenerationResult(sentences=tuple(Sentence(text=f"{score}{place}", score=score) for place, score in enumerate((0.1, 0.9, 0.9))))]
    assert [sentence.text for sentence in best_sentences(summaries, 2)] == ["0.91", "0.92"]
