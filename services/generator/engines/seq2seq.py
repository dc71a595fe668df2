"""The seq2seq engine: a transformers encoder-decoder (T5, FLAN-T5, BART, Pegasus, ...), batched step by step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from core.errors import ModelUnavailable
from services.generator.engines import caches
from services.generator.engines.encoder_decoder import EncoderDecoderEngine, require_positions, summarizing
from services.generator.engines.engine import Observer, Read
from services.generator.engines.loading import info, load, stop_tokens
from services.generator.engines.memory import release
from services.generator.engines.requests import Cohort, Request
from services.generator.engines.rules import Rules
from services.generator.engines.scheduler import Scheduler


class Seq2SeqEngine(EncoderDecoderEngine):
    """See the module."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        device: str,
        dtype: torch.dtype,
        max_new_tokens: int,
        max_batch_tokens: int,
        max_running: int,
        kv_tokens: int,
        observer: Observer,
    ) -> None:
        model, tokenizer = load(AutoModelForSeq2SeqLM, folder, device=device, dtype=dtype)
        require_positions(model.config, name, max_new_tokens)
        model.generation_config = summarizing(model.generation_config, model.config)
        decoder = Seq2SeqDecoder(model, stop_tokens(model.generation_config, tokenizer), device)
        scheduler = Scheduler(
            decoder, max_running=max_running, kv_tokens=kv_tokens, max_batch_tokens=max_batch_tokens, observer=observer, name="seq2seq"
        )
        about = info("seq2seq", folder, name=name, device=device, dtype=str(dtype))
        super().__init__(scheduler, model.config, tokenizer, info=about, max_new_tokens=max_new_tokens, observer=observer)


class Seq2SeqDecoder:
    """Encodes prompts padded on the right, and writes behind the model's start token."""

    def __init__(self, model: Any, stop: frozenset[int], device: str) -> None:
        start = model.generation_config.decoder_start_token_id
        if start is None:
            start = model.generation_config.bos_token_id
        if start is None:
            raise ModelUnavailable("the model names no decoder_start_token_id: it belongs into its generation_config.json")
        self.stop_tokens = stop
        self.device = device
        self._start = int(start)
        self._model = model
        self._pad = model.config.pad_token_id or 0
        self._rules = Rules(model.generation_config, stop, self.history, device)
        # Where positions count from the newest token backwards, rows may be at different places of their texts.
        self.relative = hasattr(model.config, "relative_attention_num_buckets")

    def history(self, request: Request) -> list[int]:
        """What the decoder has of a request."""
        return [self._start, *request.written]

    def group_of(self, request: Request) -> object:
        """Prompts whose texts are equally long."""
        return len(request.written)

    @torch.inference_mode()
    def read(self, requests: Sequence[Request]) -> tuple["Seq2SeqCohort", list[int], Read]:
        """See Decoder."""
        ids, mask = caches.padded_batch([request.prompt for request in requests], self._pad, left=False)
        read = Read(len(requests), int(mask.sum()), mask.numel())
        mask = mask.to(self.device)
        hidden = self._model.get_encoder()(input_ids=ids.to(self.device), attention_mask=mask).last_hidden_state
        cohort = Seq2SeqCohort(self, list(requests), hidden, mask)
        return cohort, cohort.begin(torch.tensor([self.history(request) for request in requests], device=self.device)), read

    def forward(self, cohort: "Seq2SeqCohort", ids: torch.Tensor) -> list[int]:
        """One pass of the decoder over `ids` int64 `[rows, new]`. The next token of each request."""
        output = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=cohort.hidden),
            attention_mask=cohort.prompt_mask,
            decoder_input_ids=ids,
            decoder_attention_mask=cohort.text_mask,
            past_key_values=cohort.cache,
            use_cache=True,
        )
        return self._rules.choose(cohort.requests, output.logits[:, -1])

    def forget(self) -> None:
        """See Decoder."""
        release(self.device)


class Seq2SeqCohort:
    """Rows of encoded prompts, padded on the right, and of texts, padded on the left.

    `hidden` is what the encoder made of the prompts, `[rows, prompt, width]`; the masks are int64 `[rows, prompt]` and `[rows, text]`.
    """

    def __init__(self, decoder: Seq2SeqDecoder, requests: list[Request], hidden: torch.Tensor, prompt_mask: torch.Tensor) -> None:
        self.requests = requests
        self.hidden = hidden
        self.prompt_mask = prompt_mask
        self.text_mask = prompt_mask.new_ones(len(requests), 0)
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self._decoder = decoder

    def begin(self, texts: torch.Tensor) -> list[int]:
        """Read the starts int64 `[rows, tokens]` of the texts."""
        self.text_mask = torch.ones_like(texts)
        return self._decoder.forward(self, texts)

    @torch.inference_mode()
    def step(self) -> list[int]:
        """See Cohort."""
        self.text_mask = caches.with_one_more(self.text_mask)
        return self._decoder.forward(self, torch.tensor([request.written[-1:] for request in self.requests], device=self._decoder.device))

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """See Cohort."""
        self.requests = [self.requests[row] for row in rows]
        chosen = torch.tensor(rows, device=self.prompt_mask.device)
        # The start is in the cache, the newest token is not yet.
        skip = self.text_mask.shape[1] - max(len(request.written) for request in self.requests)
        self.text_mask = self.text_mask[chosen, skip:]
        self.prompt_mask, self.hidden = self.prompt_mask[chosen], self.hidden[chosen]
        caches.keep_rows(self.cache.self_attention_cache, chosen, skip)
        caches.keep_rows(self.cache.cross_attention_cache, chosen)

    @torch.inference_mode()
    def absorb(self, other: Cohort) -> bool:
        """See Cohort. A model that counts positions from the start can't have rows at different places of their texts."""
        if not isinstance(other, Seq2SeqCohort) or not (self._decoder.relative or self.text_mask.shape[1] == other.text_mask.shape[1]):
            return False
        caches.join(self.cache.self_attention_cache, other.cache.self_attention_cache, left=True)
        caches.join(self.cache.cross_attention_cache, other.cache.cross_attention_cache, left=False)
        self.hidden = caches.join_rows(self.hidden, other.hidden, dim=-2, left=False)
        self.prompt_mask = caches.join_rows(self.prompt_mask, other.prompt_mask, dim=-1, left=False)
        self.text_mask = caches.join_rows(self.text_mask, other.text_mask, dim=-1, left=True)
        self.requests = [*self.requests, *other.requests]
        return True
