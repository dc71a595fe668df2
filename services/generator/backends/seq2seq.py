"""The seq2seq backend: a transformers encoder-decoder (T5, BART, Pegasus, ...) writes summaries and answers."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from core.errors import InvalidRequest
from core.schemas import GenerationDone, GenerationEvent, GenerationItem, GenerationResult, GeneratorInfo, Sentence, Source, Span
from core.words import content_words
from services.generator.sentences import quote, split_sentences
from services.model_source import weights_sha256
from services.packing import pack_by_tokens

_SUMMARIZE = "Say what the text tells about the question.\n\nQuestion: {question}\n\nText: {text}\n\nSummary:"
_COMPOSE = "Answer the question from these facts.\n\nQuestion: {question}\n\nFacts:\n{text}\n\nAnswer:"
# transformers writes about 1e30 where a tokenizer knows no limit.
_NO_LIMIT = 1_000_000


class Seq2SeqBackend:
    """See the module. Greedy decoding, so that an item's text does not depend on its batch."""

    def __init__(self, folder: Path, *, name: str, device: str, dtype: torch.dtype, max_batch_tokens: int, max_new_tokens: int) -> None:
        disable_progress_bar()
        self._tokenizer = AutoTokenizer.from_pretrained(str(folder))
        self._model = AutoModelForSeq2SeqLM.from_pretrained(str(folder), dtype=dtype).to(device).eval()
        self._device = device
        self._max_batch_tokens = max_batch_tokens
        self._max_new_tokens = max_new_tokens
        self.info = GeneratorInfo(
            backend="seq2seq", model=name, device=device, dtype=str(dtype).removeprefix("torch."), weights_sha256=weights_sha256(folder)
        )
        # One batch at a time is what a device is best at.
        self._thread = ThreadPoolExecutor(1, "seq2seq")

    @property
    def max_prompt_tokens(self) -> int:
        """Tokens a prompt may have: the smallest limit that the model or its tokenizer names."""
        config = self._model.config
        named = [getattr(config, "max_position_embeddings", None), getattr(config, "n_positions", None), self._tokenizer.model_max_length]
        return min((int(limit) for limit in named if limit and limit < _NO_LIMIT), default=_NO_LIMIT)

    async def summarize(self, items: Sequence[GenerationItem]) -> list[GenerationResult]:
        """A summary of each item's passage; every sentence rests on the passage's sentence that shares most words with it."""
        return await self._write(_SUMMARIZE, items, [_spans_of_passage(item) for item in items])

    async def compose(self, items: Sequence[GenerationItem]) -> list[GenerationResult]:
        """An answer from each item's sources; every sentence rests on the span of a source that shares most words with it."""
        return await self._write(_COMPOSE, items, [[span for source in item.sources for span in source.supports] for item in items])

    async def stream(self, item: GenerationItem) -> AsyncGenerator[GenerationEvent, None]:
        """The whole answer at once."""
        (result,) = await self.compose([item])
        yield GenerationDone(result=result)

    async def _write(self, template: str, items: Sequence[GenerationItem], spans: Sequence[Sequence[Span]]) -> list[GenerationResult]:
        prompts = [_fill(template, item) for item in items]
        loop = asyncio.get_running_loop()
        texts = await loop.run_in_executor(self._thread, self._generate, prompts)
        return [
            _result(text, own, item.max_sentences) if isinstance(text, str) else text for text, own, item in zip(texts, spans, items, strict=True)
        ]

    def _generate(self, prompts: Sequence[str]) -> list[str | GenerationResult]:
        """The text for each prompt, or the result that says why there is none."""
        tokens = [self._tokenizer(prompt, truncation=False)["input_ids"] for prompt in prompts]
        texts: list[str | GenerationResult] = [self._too_long(len(ids)) for ids in tokens]
        fitting = [index for index, ids in enumerate(tokens) if len(ids) <= self.max_prompt_tokens]
        for group in pack_by_tokens([len(tokens[index]) for index in fitting], self._max_batch_tokens):
            rows = [fitting[position] for position in group]
            for row, text in zip(rows, self._generate_batch([tokens[row] for row in rows]), strict=True):
                texts[row] = text
        return texts

    @torch.inference_mode()
    def _generate_batch(self, rows: Sequence[list[int]]) -> list[str]:
        batch = self._tokenizer.pad({"input_ids": list(rows)}, return_tensors="pt").to(self._device)
        output = self._model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=self._max_new_tokens,
            do_sample=False,
            num_beams=1,
        )
        return [text.strip() for text in self._tokenizer.batch_decode(output, skip_special_tokens=True)]

    def _too_long(self, tokens: int) -> GenerationResult:
        message = f"the prompt has {tokens} tokens, the model takes {self.max_prompt_tokens}: lower ingestion.chunk_tokens or top_k"
        return GenerationResult(error=InvalidRequest(message).info())


def _fill(template: str, item: GenerationItem) -> str:
    return template.format(question=item.question, text="\n".join(source.text for source in item.sources))


def _spans_of_passage(item: GenerationItem) -> list[Span]:
    return [span for source in item.sources if source.span for span in _spans_of_source(source, source.span)]


def _spans_of_source(source: Source, span: Span) -> list[Span]:
    extents = split_sentences(source.text)
    return [quote(span, extents, index) for index in range(len(extents))]


def _result(text: str, spans: Sequence[Span], max_sentences: int) -> GenerationResult:
    """The sentences of `text`; none where there is no source, because whatever the model wrote then rests on nothing."""
    extents = split_sentences(text)[:max_sentences] if spans else []
    return GenerationResult(sentences=tuple(Sentence(text=extent.text, supports=_support(extent.text, spans)) for extent in extents))


def _support(sentence: str, spans: Sequence[Span]) -> tuple[Span, ...]:
    """The span that holds most of the sentence's content words; none where no word is shared."""
    wanted = set(content_words(sentence))
    best = max(spans, key=lambda span: len(wanted & set(content_words(span.quote))), default=None)
    return (best,) if best and wanted & set(content_words(best.quote)) else ()
