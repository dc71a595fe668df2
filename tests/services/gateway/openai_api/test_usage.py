import pytest

from core.errors import DependencyUnavailable
from core.schemas import Answer, Conditions, EncoderInfo, TokenUsage
from services.gateway.openai_api.usage import TokenCounter
from tests.services.gateway.fakes import FakeRetriever, encoder_info


class Described(FakeRetriever):
    """Counts how often it is asked for its encoder, of which there may be a newer one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.fingerprint = "encoder-a"

    async def encoder(self) -> EncoderInfo:
        self.asked += 1
        return (await super().encoder()).model_copy(update={"fingerprint": self.fingerprint})


def _answer(encoder: str | None) -> Answer:
    facts = {"abstained": False, "confidence": None, "degraded": False, "citations": (), "passages": (), "summaries": (), "timings_ms": {}}
    made_with = Conditions(encoder=encoder)
    return Answer.model_validate({"id": "ans_1", "question": "one two three?", "answer": "four five", "conditions": made_with, **facts})


async def test_the_tokenizer_is_asked_for_once_for_each_encoder() -> None:
    described = Described()
    counter = TokenCounter(described)
    for encoder, asked in (("encoder-a", 1), ("encoder-a", 1), (None, 1)):
        usage = await counter.usage(_answer(encoder))
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, described.asked) == (4, 2, 6, asked)
    described.fingerprint = "encoder-b"
    for _ in range(2):
        assert await counter.usage(_answer("encoder-b")) is not None
    assert described.asked == 2


async def test_what_a_language_model_counted_is_not_counted_again() -> None:
    described = Described()
    answer = _answer("encoder-a").model_copy(update={"usage": TokenUsage(prompt_tokens=70, new_tokens=9)})
    usage = await TokenCounter(described).usage(answer)
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, described.asked) == (70, 9, 79, 0)


async def test_without_an_encoder_nothing_is_counted() -> None:
    described = Described()
    described.failure = DependencyUnavailable("down")
    assert await TokenCounter(described).usage(_answer("encoder-a")) is None


@pytest.mark.parametrize("text", ["", "駅弁"])
async def test_special_tokens_are_not_counted(text: str) -> None:
    answer = _answer("encoder-a").model_copy(update={"answer": text})
    usage = await TokenCounter(FakeRetriever()).usage(answer)
    assert usage is not None
    assert usage.completion_tokens == len(text.split())
    assert encoder_info().fingerprint == "encoder-a"
