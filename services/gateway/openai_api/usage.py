"""Tokens of answers: as the language model counted them, else with the encoder's tokenizer, which is always at hand and measures chunks as well."""

import asyncio

from tokenizers import Tokenizer

from core.errors import EkibenError
from core.ports import DescribesEncoder
from core.schemas import Answer
from pipelines.ingestion.window import load_tokenizer
from services.gateway.openai_api.wire import Usage


class TokenCounter:
    """Keeps the tokenizer of the encoder that was met last."""

    def __init__(self, encoders: DescribesEncoder) -> None:
        self._encoders = encoders
        self._fetching = asyncio.Lock()
        self._fingerprint = ""
        self._tokenizer: Tokenizer | None = None

    async def usage(self, answer: Answer) -> Usage | None:
        """What the language model read and wrote for `answer`; without one, what `answer` read and says, None where the encoder can't be asked."""
        if answer.usage:
            return _usage(answer.usage.prompt_tokens, answer.usage.new_tokens)
        try:
            tokenizer = await self._of(answer.conditions.encoder)
        except EkibenError:
            return None
        read = [answer.question, *(passage.text for passage in answer.passages)]
        *prompt, completion = await asyncio.to_thread(_count, tokenizer, [*read, answer.answer])
        return _usage(sum(prompt), completion)

    async def _of(self, fingerprint: str | None) -> Tokenizer:
        async with self._fetching:
            if self._tokenizer is None or fingerprint not in (None, self._fingerprint):
                encoder = await self._encoders.encoder()
                self._tokenizer, self._fingerprint = await asyncio.to_thread(load_tokenizer, encoder), encoder.fingerprint
            return self._tokenizer


def _usage(read: int, written: int) -> Usage:
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


def _count(tokenizer: Tokenizer, texts: list[str]) -> list[int]:
    return [len(encoding) for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
