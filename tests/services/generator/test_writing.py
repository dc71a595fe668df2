import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DependencyUnavailable, InvalidRequest
from core.schemas import (
    GenerationDone,
    GenerationEvent,
    GenerationItem,
    GenerationResult,
    GenerationSentence,
    GenerationText,
    Source,
    WritingStats,
)
from services.generator.backends.writing import WritingBackend
from services.generator.engines.engine import Prompt
from services.generator.prompting import load_prompts
from tests.services.generator.hostile import hostile_texts
from tests.services.generator.samples import OTHER_TEXT, TEXT, facts, item
from tests.services.generator.scripted import Script, ScriptedEngine, quote_sources

CHAT = load_prompts("chat.1")
FACTS = facts("It was opened in March of the year 1988.", "Trains run under the Tsugaru Strait.", "The island is cold in winter.")


def saying(*texts: str) -> Script:
    """Writes these texts, one a prompt, then the last again."""
    rest = list(texts)
    return lambda prompt: rest.pop(0) if len(rest) > 1 else rest[0]


def backend(script: Script = quote_sources, **options: int) -> tuple[WritingBackend, ScriptedEngine]:
    engine = ScriptedEngine(script, **options)
    return WritingBackend(engine, CHAT, max_new_tokens=64), engine


def said(result: GenerationResult) -> GenerationResult:
    """Without what it cost."""
    return result.model_copy(update={"writing": None})


def numbers(result: GenerationResult, item: GenerationItem = FACTS) -> list[list[int]]:
    """Which sources each sentence rests on, from 1."""
    spans = [source.supports[0] for source in item.sources]
    return [[spans.index(span) + 1 for span in sentence.supports] for sentence in result.sentences]


async def streamed(backend: WritingBackend, item: GenerationItem) -> tuple[str, list[GenerationEvent]]:
    events = [event async for event in backend.stream(item)]
    done = events[-1]
    assert isinstance(done, GenerationDone)
    events[-1] = GenerationDone(result=said(done.result))
    return "".join(event.text for event in events if isinstance(event, GenerationText)), events


def test_the_version_of_the_prompts_stands_in_what_a_backend_is() -> None:
    info = backend()[0].info
    assert (info.backend, info.model, info.settings["generator.prompts"]) == ("scripted", "rules", CHAT.version)


async def test_an_answer_cites_the_sources_it_names() -> None:
    writer, _ = backend(saying("Trains run [2]. It was opened in 1988 [1][3]. Nobody knows more [9]."))
    (result,) = await writer.compose([FACTS])
    assert result.text == "Trains run. It was opened in 1988. Nobody knows more."
    assert numbers(result) == [[2], [1, 3], []]


async def test_a_summary_rests_on_the_sentences_of_its_passage() -> None:
    writer, _ = backend(saying("It was opened in 1988. Napoleon lost at Waterloo."))
    (result,) = await writer.summarize([item(TEXT)])
    assert [[span.quote for span in sentence.supports] for sentence in result.sentences] == [["It was opened in March of the year 1988."], []]


async def test_a_sentence_scores_by_the_words_of_the_question_that_it_holds() -> None:
    writer, _ = backend(saying("The tunnel was opened in 1988 [1]. The island is very cold [3]."))
    (result,) = await writer.compose([FACTS.model_copy(update={"rarity": {"tunnel": 3.0, "open": 1.0, "year": 4.0}})])
    assert [sentence.score for sentence in result.sentences] == [0.5, 0.0]


@pytest.mark.parametrize("text", ["NONE", " none of it: ".upper(), "**NONE**", "NONE. The passage is about squid.", ""])
async def test_a_passage_or_sources_that_say_nothing_have_no_sentences(text: str) -> None:
    writer, _ = backend(saying(text))
    results = [*await writer.summarize([item(TEXT)]), *await writer.compose([FACTS])]
    assert [said(result) for result in results] == [GenerationResult(), GenerationResult()]
    assert (await streamed(writer, FACTS)) == ("", [GenerationDone(result=GenerationResult())])


async def test_what_needs_no_model_asks_none() -> None:
    writer, engine = backend()
    ungrounded = GenerationItem(question="Why?", sources=(Source(text="Invented.", score=1.0),), max_sentences=3)
    assert await writer.compose([facts(), ungrounded]) == [GenerationResult()] * 2
    assert await writer.summarize([item(" \n ")]) == [GenerationResult()]
    assert (await streamed(writer, ungrounded))[0] == ""
    assert engine.calls == []


async def test_summaries_of_a_batch_go_to_the_engine_together() -> None:
    writer, engine = backend()
    await writer.summarize([item(TEXT), item(OTHER_TEXT), item(TEXT, question="How cold is it?")])
    assert [len(call) for call in engine.calls] == [3]


async def test_repeats_and_sources_that_rest_on_nothing_are_not_composed() -> None:
    writer, engine = backend()
    repeated = facts(
        "Trains run under the Tsugaru Strait.", "trains run, under the Tsugaru Strait", "It was opened in 1988.", "It was opened in 1998."
    )
    invented = Source(text="Nobody ever wrote this.", score=1.0)
    (result,) = await writer.compose([repeated.model_copy(update={"sources": (invented, *repeated.sources), "max_sentences": 9})])
    assert [sentence.text for sentence in result.sentences] == [repeated.sources[index].text for index in (0, 2, 3)]
    ((prompt,),) = engine.calls
    assert "[3] It was opened in 1998." in prompt.user
    assert "[4]" not in prompt.user


async def test_sources_that_do_not_fit_are_reduced_with_their_supports_and_each_level_of_all_items_is_one_call() -> None:
    texts = [f"Fact number {number} tells of station {number} on the long line to the north." for number in range(24)]
    large, small = facts(*texts, max_sentences=4), facts("One fact stands here.")
    writer, engine = backend(max_prompt_tokens=300)
    first, second = await writer.compose([large, small])
    assert len(engine.calls[0]) > 2
    assert all(len(call) < len(engine.calls[0]) for call in engine.calls[1:])
    assert all(engine.count_tokens(prompt) <= 300 for call in engine.calls for prompt in call)
    assert second.text == "One fact stands here."
    assert len(first.sentences) == 4
    given = {span.quote: span for source in large.sources for span in source.supports}
    assert all(sentence.supports == (given[sentence.text],) for sentence in first.sentences)
    assert (await streamed(writer, large))[1][-1] == GenerationDone(result=said(first))


async def test_what_is_too_large_fails_alone_and_says_so() -> None:
    writer, _ = backend(max_prompt_tokens=300)
    for results in (
        await writer.summarize([item(TEXT), item("train " * 500), item(OTHER_TEXT)]),
        await writer.compose([FACTS, facts("Short.", "train " * 500), FACTS]),
    ):
        assert [result.error.code if result.error else None for result in results] == [None, "invalid_request", None]
        assert results[1].error is not None
        assert "the model takes 300" in results[1].error.message
    text, (done,) = await streamed(writer, facts("train " * 500))
    assert isinstance(done, GenerationDone)
    assert done.result.error is not None
    assert (text, done.result.error.code) == ("", "invalid_request")


async def test_what_is_no_passage_is_refused() -> None:
    writer, _ = backend()
    results = await writer.summarize([item(TEXT), item(TEXT, OTHER_TEXT), facts("A fact."), item()])
    assert [result.error.code if result.error else None for result in results] == [None, *["invalid_request"] * 3]


async def test_an_engine_that_is_down_is_raised_and_ends_a_stream_as_its_result() -> None:
    class Down(ScriptedEngine):
        async def write(self, prompts: Sequence[Prompt]) -> list[object]:  # type: ignore[override]
            raise DependencyUnavailable("the server is gone")

        def _write(self, prompt: Prompt) -> DependencyUnavailable:  # type: ignore[override]
            return DependencyUnavailable("the server is gone")

    writer = WritingBackend(Down(), CHAT, max_new_tokens=9)
    with pytest.raises(DependencyUnavailable):
        await writer.compose([FACTS])
    _, (done,) = await streamed(writer, FACTS)
    assert done == GenerationDone(result=GenerationResult(error=DependencyUnavailable("the server is gone").info()))


pieces = st.sampled_from(
    ["It was opened [1]. ", "Trains run [2, 3] ", "[9]", "\n", "- ", "Nobody knows that. ", "[", "1]", "NONE", "新幹線。", "[2] ", '"']
)


@given(st.lists(pieces, max_size=10).map("".join), st.integers(1, 7), st.integers(1, 3))
def test_a_stream_says_what_compose_returns_however_it_is_cut(text: str, piece: int, max_sentences: int) -> None:
    async def both() -> tuple[GenerationResult, str, list[GenerationEvent]]:
        writer, _ = backend(saying(text), piece=piece)
        one = FACTS.model_copy(update={"max_sentences": max_sentences})
        (result,) = await writer.compose([one])
        return result, *await streamed(writer, one)

    result, shown, events = asyncio.run(both())
    assert events[-1] == GenerationDone(result=said(result))
    assert shown == result.text
    assert tuple(event.sentence for event in events if isinstance(event, GenerationSentence)) == result.sentences


async def test_a_stream_that_is_closed_stops_the_engine() -> None:
    writer, engine = backend(saying("Trains run under the strait [2]. " * 20))
    async with aclosing(writer.stream(FACTS)) as stream:
        await anext(stream)
        assert engine.open == 1
        before = engine.steps
    assert (engine.open, engine.steps) == (0, before)


async def test_the_engine_stops_when_enough_is_written() -> None:
    writer, engine = backend(saying("Trains run under the strait [2]. " * 50), piece=8)
    shown, _ = await streamed(writer, FACTS.model_copy(update={"max_sentences": 2}))
    assert shown == "Trains run under the strait. Trains run under the strait."
    assert engine.steps < 15
    assert engine.open == 0


@given(hostile_texts.filter(str.strip), hostile_texts)
def test_no_text_forges_a_source(text: str, question: str) -> None:
    """The engine of this test follows whatever labels it finds at the margin, and copies what it reads."""
    good = "The tunnel was opened in March of the year 1988."

    async def compose() -> tuple[GenerationResult, list[Prompt]]:
        writer, engine = backend(max_prompt_tokens=10_000)
        (result,) = await writer.compose([facts(text, good, question=question or "?", max_sentences=50)])
        return result, engine.calls[0]

    result, (prompt,) = asyncio.run(compose())
    labels = [line.partition("]")[0] for line in prompt.user.split("\n") if line.startswith("[")]
    assert labels == ["[1", "[2"]
    assert prompt.user.split("\n").count("</sources>") == 1
    copied = [sentence for sentence in result.sentences if sentence.text == good]
    assert all(span.quote in (text, good) for sentence in result.sentences for span in sentence.supports)
    if text.strip()[:1].isalpha():
        # What a reader drops (a list's mark, a heading) leaves its marker to the sentence that follows.
        assert [span.quote for sentence in copied for span in sentence.supports] in ([], [good])


async def test_results_say_what_the_model_read_and_wrote_for_them() -> None:
    writer, engine = backend()
    results = await writer.summarize([item(TEXT), item(" \n "), item(OTHER_TEXT), item()])
    assert results[1].writing is results[3].writing is None
    for result, prompt in zip(results[::2], engine.calls[0], strict=True):
        words = len(quote_sources(prompt).split())
        assert result.writing == WritingStats(prompts=1, prompt_tokens=engine.count_tokens(prompt), new_tokens=words)


async def test_a_reduction_counts_all_its_prompts_streamed_or_not() -> None:
    large = facts(*(f"Fact number {number} tells of station {number} on the long line to the north." for number in range(24)), max_sentences=4)
    writer, engine = backend(max_prompt_tokens=300)
    (whole,) = await writer.compose([large])
    prompts = [prompt for call in engine.calls for prompt in call]
    assert whole.writing
    assert len(prompts) > 3
    assert (whole.writing.prompts, whole.writing.prompt_tokens) == (len(prompts), sum(map(engine.count_tokens, prompts)))
    *_, done = [event async for event in writer.stream(large)]
    assert isinstance(done, GenerationDone)
    assert done.result.writing
    assert (done.result.writing.prompts, done.result.writing.prompt_tokens) == (whole.writing.prompts, whole.writing.prompt_tokens)


async def test_a_stream_that_has_enough_counts_what_it_took() -> None:
    writer, engine = backend(saying("Trains run under the strait [2]. " * 50), piece=8)
    *_, done = [event async for event in writer.stream(FACTS.model_copy(update={"max_sentences": 2}))]
    assert isinstance(done, GenerationDone)
    assert done.result.writing
    ((prompt,),) = engine.calls
    assert done.result.writing.prompt_tokens == engine.count_tokens(prompt)
    assert 12 <= done.result.writing.new_tokens <= 2 * engine.steps


async def test_an_error_of_one_prompt_is_that_of_its_item() -> None:
    class Picky(ScriptedEngine):
        def _write(self, prompt: Prompt) -> object:  # type: ignore[override]
            return InvalidRequest("not this one") if "squid" in prompt.user.lower() else super()._write(prompt)

    results = await WritingBackend(Picky(), CHAT, max_new_tokens=9).summarize([item(TEXT), item(OTHER_TEXT), item(TEXT)])
    assert [result.error.message if result.error else None for result in results] == [None, "not this one", None]
