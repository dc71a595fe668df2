from pathlib import Path

import pytest

from core.words import content_words
from services.generator.backends.seq2seq import Seq2SeqBackend
from tests.services.generator.conftest import MAX_NEW_TOKENS, load
from tests.services.generator.samples import OTHER_TEXT, TEXT, facts, item
from tests.tiny_models import BART_PROMPT_TOKENS, T5_PROMPT_TOKENS


@pytest.fixture(params=["tiny_t5", "tiny_bart"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("name", "limit"), [("t5", T5_PROMPT_TOKENS), ("bart", BART_PROMPT_TOKENS)])
async def test_a_prompt_that_is_too_long_fails_alone_and_says_how_long_it_is(name: str, limit: int, request: pytest.FixtureRequest) -> None:
    backend: Seq2SeqBackend = request.getfixturevalue(name)
    assert backend.max_prompt_tokens == limit
    # The frame of a prompt and the question have 16 words, and the end is one token more.
    longest = limit - 17
    results = await backend.summarize([item(TEXT), item("tunnel " * longest), item("tunnel " * (longest + 1)), item("tunnel " * 5000)])
    assert [result.error.code if result.error else None for result in results] == [None, None, "invalid_request", "invalid_request"]
    assert results[2].error is not None
    assert f"has {limit + 1} tokens, the model takes {limit}" in results[2].error.message


async def test_every_sentence_rests_on_the_span_that_shares_most_words_with_it(t5: Seq2SeqBackend, bart: Seq2SeqBackend) -> None:
    for backend in (t5, bart):
        results = await backend.summarize([item(f"{TEXT} {OTHER_TEXT}", max_sentences=9)])
        results += await backend.compose([facts(*TEXT.split(". "), *OTHER_TEXT.split(". "), max_sentences=9)])
        sentences = [sentence for result in results for sentence in result.sentences]
        assert sentences
        for sentence in sentences:
            (span,) = sentence.supports
            assert set(content_words(sentence.text)) & set(content_words(span.quote))


@pytest.mark.parametrize("limit", [1, 5])
async def test_no_more_tokens_are_written_than_allowed(tiny_t5: Path, limit: int) -> None:
    (result,) = await load(tiny_t5, max_new_tokens=limit).summarize([item(TEXT)])
    (longer,) = await load(tiny_t5, max_new_tokens=MAX_NEW_TOKENS).summarize([item(TEXT, max_sentences=99)])
    assert 0 < len(result.text.split()) <= limit < len(longer.text.split()) <= MAX_NEW_TOKENS


async def test_the_token_budget_changes_the_packing_and_not_the_text(folder: Path) -> None:
    items = [item(TEXT), item("Trains run."), item(OTHER_TEXT), item(f"{TEXT} {OTHER_TEXT}")]
    roomy, tight = load(folder), load(folder, max_batch_tokens=1)
    assert await roomy.summarize(items) == await tight.summarize(items)


async def test_a_prompt_holds_question_and_text_as_they_are(t5: Seq2SeqBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts: list[str] = []
    monkeypatch.setattr(t5, "_generate", lambda given: prompts.extend(given) or [""] * len(given))
    await t5.summarize([item("{text} 100% {0}", question="{question} %s {}?")])
    await t5.compose([facts("{a}", "%d", question="{")])
    assert "Question: {question} %s {}?\n\nText: {text} 100% {0}\n" in prompts[0]
    assert "Question: {\n\nFacts:\n{a}\n%d\n" in prompts[1]


async def test_a_model_that_writes_nothing_says_nothing(t5: Seq2SeqBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t5, "_generate", lambda given: [""] * len(given))
    (result,) = await t5.summarize([item(TEXT)])
    assert (result.sentences, result.error) == ((), None)


async def test_a_sentence_that_shares_no_word_with_the_passage_rests_on_nothing(t5: Seq2SeqBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t5, "_generate", lambda given: ["Napoleon lost at Waterloo. The tunnel was opened early."] * len(given))
    (result,) = await t5.summarize([item(TEXT)])
    assert [[span.quote for span in sentence.supports] for sentence in result.sentences] == [[], ["The Seikan tunnel joins Honshu and Hokkaido."]]
