"""The Embedder: texts to unit vectors, on a CPU, batched over all requests."""

import asyncio
import logging
import time
from collections.abc import Sequence

import bentoml

from core.schemas import EmbedItem, EmbedResult, EncoderInfo
from core.settings import settings
from core.telemetry import BATCH_ITEMS, BATCH_PADDING, BATCH_SECONDS, BATCH_TOKENS, configure_logging
from core.vectors import pack
from services.bentoml_runtime import answers_errors, cap_batch_wait, checked_batch, service_config
from services.border import behind_border

_settings = settings()
_config = _settings.embedder
_labels = {"service": "embedder", "operation": "embed"}
_WARM_UP = ("A question?", "A sentence of a common length, as there are many in documents. " * 4, "A passage that fills the window. " * 40)

log = logging.getLogger("ekiben.embedder")


@bentoml.service(name="Embedder", **service_config(_config.timeout_s))
class Embedder:
    """Turns texts into L2-normalized float32 vectors."""

    def __init__(self) -> None:
        import torch  # noqa: PLC0415 - this module is imported by services that have no torch

        from services.devices import choose_device, choose_dtype  # noqa: PLC0415
        from services.embedder.encoder import SentenceEncoder  # noqa: PLC0415
        from services.model_source import resolve  # noqa: PLC0415

        configure_logging(_settings.logging, "embedder")
        cap_batch_wait(_settings.runtime.batch_wait_cap_ms / 1000)
        if _config.threads:
            torch.set_num_threads(_config.threads)
        device = choose_device(_config.device)
        dtype = choose_dtype(_config.dtype, device)
        token = _settings.models.hub_token
        self._encoders: dict[str, SentenceEncoder] = {}
        for source in filter(None, (_config.model, _config.next_model)):
            folder = resolve(source, token.get_secret_value() if token else None)
            name = source.partition("@sha256:")[0]
            encoder = SentenceEncoder(folder, name=name, device=device, dtype=dtype, max_batch_tokens=_config.max_batch_tokens)
            encoder.encode([EmbedItem(text=text) for text in _WARM_UP])
            self._encoders[encoder.info.fingerprint] = encoder
            info = encoder.info
            log.info("encoder ready", extra={"model": info.model, "fingerprint": info.fingerprint, "device": info.device, "dtype": info.dtype})

    @bentoml.api(batchable=True, max_batch_size=_config.max_batch_items, max_latency_ms=int(_config.timeout_s * 1000))
    @checked_batch
    async def embed(self, items: list[EmbedItem]) -> list[EmbedResult]:
        """One unit vector a text, in order. Texts of concurrent requests share a batch."""
        results: list[EmbedResult | None] = [None] * len(items)
        for fingerprint, places in self._by_encoder(items).items():
            part = await self._embed(fingerprint, [items[place] for place in places])
            for place, result in zip(places, part, strict=True):
                results[place] = result
        return [result for result in results if result is not None]

    def _by_encoder(self, items: Sequence[EmbedItem]) -> dict[str, list[int]]:
        """The places of the items for each encoder; what none is wanted for, or one that doesn't run, is the first one's."""
        first = next(iter(self._encoders))
        places: dict[str, list[int]] = {}
        for place, item in enumerate(items):
            places.setdefault(item.encoder if item.encoder in self._encoders else first, []).append(place)
        return places

    async def _embed(self, fingerprint: str, items: Sequence[EmbedItem]) -> list[EmbedResult]:
        started = time.perf_counter()
        embedded, cost = await asyncio.to_thread(self._encoders[fingerprint].encode, items)
        BATCH_SECONDS.labels(**_labels).observe(time.perf_counter() - started)
        BATCH_ITEMS.labels(**_labels).observe(len(items))
        BATCH_TOKENS.labels(**_labels).observe(cost.tokens)
        BATCH_PADDING.labels(**_labels).observe(1 - cost.tokens / cost.padded_tokens)
        return [EmbedResult(vector=pack(vector), tokens=tokens, windows=windows, fingerprint=fingerprint) for vector, tokens, windows in embedded]

    @bentoml.api
    @answers_errors
    async def encoders(self) -> list[EncoderInfo]:
        """The running encoders, tokenizers included: the model's, then the next model's where there is one."""
        return [encoder.info for encoder in self._encoders.values()]


behind_border(Embedder, max_body_bytes=_settings.gateway.max_body_bytes)
