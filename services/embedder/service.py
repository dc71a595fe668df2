"""The Embedder: texts to unit vectors, and pairs of question and passage to scores, on a CPU, batched over all requests."""

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import bentoml

from core.errors import Internal, NotReady
from core.schemas import BatchStats, EmbedItem, EmbedResult, EncoderInfo, RerankerInfo, RerankItem, RerankResult
from core.settings import settings
from core.telemetry import BATCH_ITEMS, BATCH_PADDING, BATCH_SECONDS, BATCH_TOKENS, configure_logging
from core.vectors import pack
from services.batch_items import batch_stats
from services.bentoml_runtime import answers_errors, cap_batch_wait, checked_batch, service_config
from services.border import behind_border

if TYPE_CHECKING:
    import torch

    from services.embedder.encoder import BatchCost, SentenceEncoder
    from services.embedder.reranker import CrossEncoderReranker, Scored

_settings = settings()
_config = _settings.embedder
_WARM_UP = ("A question?", "A sentence of a common length, as there are many in documents. " * 4, "A passage that fills the window. " * 40)

log = logging.getLogger("ekiben.embedder")


@bentoml.service(name="Embedder", **service_config(_config.timeout_s))
class Embedder:
    """Turns texts into L2-normalized float32 vectors, and scores how well passages answer where `embedder.reranker` names a model."""

    def __init__(self) -> None:
        import torch  # noqa: PLC0415 - this module is imported by services that have no torch

        from services.devices import choose_device, choose_dtype  # noqa: PLC0415

        configure_logging(_settings.logging, "embedder")
        cap_batch_wait(_settings.runtime.batch_wait_cap_ms / 1000)
        if _config.threads:
            torch.set_num_threads(_config.threads)
        device = choose_device(_config.device)
        dtype = choose_dtype(_config.dtype, device)
        encoders = [_load_encoder(source, device, dtype) for source in (_config.model, _config.next_model) if source]
        self._encoders = {encoder.info.fingerprint: encoder for encoder in encoders}
        self._reranker = _load_reranker(_config.reranker, device, dtype) if _config.reranker else None

    @bentoml.api(batchable=True, max_batch_size=_config.max_batch_items, max_latency_ms=int(_config.timeout_s * 1000))
    @checked_batch
    async def embed(self, items: list[EmbedItem]) -> list[EmbedResult]:
        """One unit vector a text, in order. Texts of concurrent requests share a batch."""
        started = time.perf_counter()
        results: list[EmbedResult | None] = [None] * len(items)
        for fingerprint, places in self._by_encoder(items).items():
            part = await self._embed(fingerprint, [items[place] for place in places])
            for place, result in zip(places, part, strict=True):
                results[place] = result
        batch = batch_stats("embedder", "embed", len(items), time.perf_counter() - started)
        return [result.model_copy(update={"batch": own}) for result, own in zip(results, batch, strict=True) if result is not None]

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
        _observe("embed", time.perf_counter() - started, len(items), cost)
        return [EmbedResult(vector=pack(vector), tokens=tokens, windows=windows, fingerprint=fingerprint) for vector, tokens, windows in embedded]

    @bentoml.api
    @answers_errors
    async def encoders(self) -> list[EncoderInfo]:
        """The running encoders, tokenizers included: the model's, then the next model's where there is one."""
        return [encoder.info for encoder in self._encoders.values()]

    # Whoever waits gives up after `retriever.rerank_timeout_s`; what can't be done by then is refused instead of computed for nobody.
    @bentoml.api(batchable=True, max_batch_size=_config.max_batch_items, max_latency_ms=int(_settings.retriever.rerank_timeout_s * 1000))
    @checked_batch
    async def rerank(self, items: list[RerankItem]) -> list[RerankResult]:
        """How well each passage answers its question, in order. Pairs of concurrent requests share a batch."""
        if self._reranker is None:
            error = NotReady("the Embedder runs no reranker: name one in embedder.reranker").info()
            return [RerankResult(error=error)] * len(items)
        started = time.perf_counter()
        scored, cost = await asyncio.to_thread(self._reranker.score, items)
        elapsed = time.perf_counter() - started
        _observe("rerank", elapsed, len(items), cost)
        return [_rerank_result(one, own) for one, own in zip(scored, batch_stats("embedder", "rerank", len(items), elapsed), strict=True)]

    @bentoml.api
    @answers_errors
    async def rerankers(self) -> list[RerankerInfo]:
        """The running reranker, or none."""
        return [self._reranker.info] if self._reranker else []


def _load_encoder(source: str, device: str, dtype: "torch.dtype") -> "SentenceEncoder":
    from services.embedder.encoder import SentenceEncoder  # noqa: PLC0415 - see __init__

    encoder = SentenceEncoder(_folder(source), name=_name(source), device=device, dtype=dtype, max_batch_tokens=_config.max_batch_tokens)
    encoder.encode([EmbedItem(text=text) for text in _WARM_UP])
    info = encoder.info
    log.info("encoder ready", extra={"model": info.model, "fingerprint": info.fingerprint, "device": info.device, "dtype": info.dtype})
    return encoder


def _load_reranker(source: str, device: str, dtype: "torch.dtype") -> "CrossEncoderReranker":
    from services.embedder.reranker import CrossEncoderReranker  # noqa: PLC0415 - see __init__

    reranker = CrossEncoderReranker(_folder(source), name=_name(source), device=device, dtype=dtype, max_batch_tokens=_config.max_batch_tokens)
    reranker.score([RerankItem(query=_WARM_UP[0], text=text) for text in _WARM_UP])
    log.info("reranker ready", extra=reranker.info.model_dump())
    return reranker


def _folder(source: str) -> Path:
    from services.model_source import resolve  # noqa: PLC0415 - see __init__

    token = _settings.models.hub_token
    return resolve(source, token.get_secret_value() if token else None)


def _name(source: str) -> str:
    return source.partition("@sha256:")[0]


def _observe(operation: str, seconds: float, items: int, cost: "BatchCost") -> None:
    labels = {"service": "embedder", "operation": operation}
    BATCH_SECONDS.labels(**labels).observe(seconds)
    BATCH_ITEMS.labels(**labels).observe(items)
    BATCH_TOKENS.labels(**labels).observe(cost.tokens)
    BATCH_PADDING.labels(**labels).observe(1 - cost.tokens / cost.padded_tokens)


def _rerank_result(scored: "Scored", batch: BatchStats) -> RerankResult:
    error = Internal("the reranker gave this pair no finite number").info() if scored.score is None else None
    return RerankResult(score=scored.score, tokens=scored.tokens, windows=scored.windows, error=error, batch=batch)


behind_border(Embedder, max_body_bytes=_settings.gateway.max_body_bytes)
