from collections.abc import Sequence

import pytest

from core.errors import DependencyUnavailable
from core.schemas import EmbedItem, EmbedResult, GenerationItem
from services.generator.backends.extractive import ExtractiveBackend
from services.generator.sentence_vectors import SentenceVectors
from tests.services.generator.samples import OTHER_TEXT, TEXT, embed_words, facts, item, ready


async def _summary(extractive: ExtractiveBackend, one: GenerationItem) -> list[str]:
    (result,) = await extractive.summarize([one])
    return [sentence.text for sentence in result.sentences]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("In which year was it opened?", "It was opened in March of the year 1988."),
        ("How is the weather on the island?", "The weather on the island is cold in winter."),
        ("Which strait do trains run under?", "Trains run under the Tsugaru Strait for half an hour."),
    ],
)
async def test_the_words_of_the_question_decide_which_sentence_is_quoted(extractive: ExtractiveBackend, question: str, answer: str) -> None:
    assert await _summary(extractive, item(TEXT, question=question, max_sentences=1)) == [answer]


async def test_a_summary_keeps_the_order_of_the_passage(extractive: ExtractiveBackend) -> None:
    chosen = await _summary(extractive, item(TEXT, question="Is the island cold, and when was it opened?", max_sentences=3))
    assert len(chosen) == 3
    assert [TEXT.index(sentence) for sentence in chosen] == sorted(TEXT.index(sentence) for sentence in chosen)


async def test_quotes_are_the_documents_own_characters(extractive: ExtractiveBackend) -> None:
    document = f"\n\n# Title 😀\n\n{TEXT}"
    start = document.index(TEXT)
    (result,) = await extractive.summarize([item(TEXT, start=start)])
    assert len(result.sentences) == 3
    for sentence in result.sentences:
        (span,) = sentence.supports
        assert document[span.start : span.end] == span.quote == sentence.text


@pytest.mark.parametrize("max_sentences", [1, 2, 4, 20])
async def test_as_many_sentences_are_quoted_as_asked_for_and_there_are(extractive: ExtractiveBackend, max_sentences: int) -> None:
    assert len(await _summary(extractive, item(TEXT, max_sentences=max_sentences))) == min(max_sentences, 4)


async def test_a_sentence_that_stands_twice_is_quoted_once(extractive: ExtractiveBackend) -> None:
    sentence = "It was opened in March of the year 1988."
    assert await _summary(extractive, item(f"{sentence} {sentence} The weather is cold.", max_sentences=3)) == [sentence, "The weather is cold."]


async def test_an_answer_does_not_repeat_itself(extractive: ExtractiveBackend) -> None:
    repeated = ("The tunnel was opened in 1988.", "the tunnel was opened in 1988")
    (result,) = await extractive.compose([facts(*repeated, "It is cold.", scores=[0.8, 0.9, 0.1])])
    assert [sentence.text for sentence in result.sentences] == [repeated[1], "It is cold."]


async def test_sentences_that_differ_in_a_number_are_both_kept(extractive: ExtractiveBackend) -> None:
    (result,) = await extractive.compose([facts("The tunnel was opened in 1988.", "The tunnel was opened in 1998.")])
    assert len(result.sentences) == 2


async def test_an_answer_takes_the_best_sentences_in_the_order_of_their_passages(extractive: ExtractiveBackend) -> None:
    texts = ("One fact stands here.", "Another thing is written.", "Some third matter.", "Last of all words.")
    (result,) = await extractive.compose([facts(*texts, scores=[0.2, 0.9, 0.1, 0.8], max_sentences=2)])
    assert [(sentence.text, round(sentence.score, 2)) for sentence in result.sentences] == [(texts[1], 0.9), (texts[3], 0.8)]
    assert [span.quote for sentence in result.sentences for span in sentence.supports] == [texts[1], texts[3]]


async def test_an_item_that_is_no_passage_gets_an_error_and_the_others_their_summaries(extractive: ExtractiveBackend) -> None:
    results = await extractive.summarize([item(TEXT), item(TEXT, OTHER_TEXT), facts("A fact."), item(OTHER_TEXT)])
    assert [result.error.code if result.error else None for result in results] == [None, "invalid_request", "invalid_request", None]
    assert [bool(result.sentences) for result in results] == [True, False, False, True]


async def test_one_call_embeds_a_whole_batch_and_each_question_once() -> None:
    calls: list[Sequence[EmbedItem]] = []

    async def recording(texts: Sequence[EmbedItem]) -> list[EmbedResult]:
        calls.append(list(texts))
        return await embed_words(texts)

    await ExtractiveBackend(SentenceVectors(recording, 0), 0.7, ready).summarize(
        [item(TEXT), item(OTHER_TEXT), item(OTHER_TEXT, question="What is sold?")]
    )
    (texts,) = calls
    assert [text.text for text in texts if text.kind == "query"] == ["When was the tunnel opened?", "What is sold?"]
    assert sum(text.kind == "document" for text in texts) == 4 + 2 + 2


async def test_an_encoder_that_is_down_is_the_callers_to_hear_of() -> None:
    async def down(_: Sequence[EmbedItem]) -> list[EmbedResult]:
        raise DependencyUnavailable("the Embedder can't be reached")

    with pytest.raises(DependencyUnavailable):
        await ExtractiveBackend(SentenceVectors(down, 0), 0.7, ready).summarize([item(TEXT)])
