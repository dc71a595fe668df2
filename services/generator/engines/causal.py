"""The causal engine: a transformers decoder-only model (Qwen, Llama, Mistral, ...) with its chat template, batched step by step."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache

from core.errors import InvalidSettings, ModelUnavailable
from services.generator.engines import caches
from services.generator.engines.chat import ChatFrame
from services.generator.engines.engine import Observer, Prompt, Read
from services.generator.engines.loading import info, load, smallest, stop_tokens
from services.generator.engines.memory import release
from services.generator.engines.requests import Cohort, Request
from services.generator.engines.rules import Rules
from services.generator.engines.running import ScheduledEngine
from services.generator.engines.scheduler import Scheduler


class CausalEngine(ScheduledEngine):
    """See the module. A prompt and what is written for it share the model's positions."""

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
        model, tokenizer = load(AutoModelForCausalLM, folder, device=device, dtype=dtype)
        # One whose layers keep a state instead of keys and values has no rows to pad and join.
        if getattr(model, "_is_stateful", False) or model.config.is_encoder_decoder:
            raise ModelUnavailable(f"{folder} holds a {model.config.model_type}: the causal engine runs decoders with attention in every layer")
        config = model.config.get_text_config()
        positions = smallest([getattr(config, "max_position_embeddings", None), getattr(config, "n_positions", None), tokenizer.model_max_length])
        if max_new_tokens >= positions:
            raise InvalidSettings(f"generator.max_new_tokens is {max_new_tokens}, but {name} has {positions} positions for prompt and text")
        self._max_prompt_tokens = positions - max_new_tokens
        self._frame = ChatFrame(tokenizer)
        decoder = CausalDecoder(model, stop_tokens(model.generation_config, tokenizer), device)
        scheduler = Scheduler(
            decoder, max_running=max_running, kv_tokens=kv_tokens, max_batch_tokens=max_batch_tokens, observer=observer, name="causal"
        )
        about = info("causal", folder, name=name, device=device, dtype=str(dtype))
        super().__init__(scheduler, tokenizer, info=about, max_new_tokens=max_new_tokens, observer=observer)

    @property
    def max_prompt_tokens(self) -> int:
        """The model's positions without those that `max_new_tokens` may take."""
        return self._max_prompt_tokens

    def _encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        return self._frame.encode(prompts)


class CausalDecoder:
    """Reads prompts padded on the left, so that the last position of every row is its newest."""

    def __init__(self, model: Any, stop: frozenset[int], device: str) -> None:
        self.stop_tokens = stop
        self.device = device
        self._model = model
        self._rules = Rules(model.generation_config, stop, _tokens, device)
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._last_logits = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}

    def group_of(self, request: Request) -> object:
        """Any prompts may be read together."""
        return None

    @torch.inference_mode()
    def read(self, requests: Sequence[Request]) -> tuple["CausalCohort", list[int], Read]:
        """See Decoder."""
        ids, mask = caches.padded_batch([_tokens(request) for request in requests], 0, left=True)
        read = Read(len(requests), int(mask.sum()), mask.numel())
        ids, mask = ids.to(self.device), mask.to(self.device)
        # Without a config every layer keeps all positions; a sliding window is the mask's matter.
        cache = DynamicCache()
        tokens = self.forward(requests, cache, ids, mask, (mask.cumsum(1) - 1).clamp(min=0))
        return CausalCohort(self, list(requests), cache, mask), tokens, read

    def forward(self, requests: Sequence[Request], cache: DynamicCache, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> list[int]:
        """One pass over `ids` int64 `[rows, new]`, behind what `cache` holds; `mask` covers both. The next token of each request."""
        placed = {"position_ids": positions} if self._takes_positions else {}
        output = self._model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **placed, **self._last_logits)
        return self._rules.choose(requests, output.logits[:, -1])

    def forget(self) -> None:
        """See Decoder."""
        release(self.device)


class CausalCohort:
    """The running batch: a cache padded on the left, and the mask int64 `[rows, positions]` of what is no padding."""

    def __init__(self, decoder: CausalDecoder, requests: list[Request], cache: DynamicCache, mask: torch.Tensor) -> None:
        self.requests = requests
        self._decoder = decoder
        self._cache = cache
        self._mask = mask

    @torch.inference_mode()
    def step(self) -> list[int]:
        """See Cohort."""
        last = [(request.written[-1], len(request.prompt) + len(request.written) - 1) for request in self.requests]
        ids, positions = torch.tensor(last, device=self._decoder.device).T.unsqueeze(-1)
        self._mask = caches.with_one_more(self._mask)
        return self._decoder.forward(self.requests, self._cache, ids, self._mask, positions)

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """See Cohort. Positions that are padding in all rows go, too."""
        self.requests = [self.requests[row] for row in rows]
        chosen = torch.tensor(rows, device=self._mask.device)
        # The newest token is not in the cache yet.
        longest = max(len(request.prompt) + len(request.written) - 1 for request in self.requests)
        skip = self._mask.shape[1] - longest
        self._mask = self._mask[chosen, skip:]
        caches.keep_rows(self._cache, chosen, skip)

    @torch.inference_mode()
    def absorb(self, other: Cohort) -> bool:
        """See Cohort."""
        if not isinstance(other, CausalCohort):
            return False
        caches.join(self._cache, other._cache, left=True)
        self._mask = caches.join_rows(self._mask, other._mask, dim=-1, left=True)
        self.requests = [*self.requests, *other.requests]
        return True


def _tokens(request: Request) -> list[int]:
    return [*request.prompt, *request.written]
