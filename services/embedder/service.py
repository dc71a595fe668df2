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
from core.telemetry import BATCH_ITEMS, BATCH_PADDING, BATCH_SECONDS, BATCH_TOKENS, BATCH_WAIT_SECONDS, configure_logging
from core.vectors import pack
from services.batch_items import batch_stats
from services.bentoml_runtime import answers_errors, cap_batch_wait, checked_batch, service_config
from services.border import behind_border
from services.embedder.query_cache import QueryCache

if TYPE_CHECKING:
    import torch

    from services.embedder.encoder import SentenceEncoder, Windows
    from services.embedder.model_thread import Pass
    from services.embedder.reranker import CrossEncoderReranker, Scored

_settings = settings()
_config = _settings.embedder
_WARM_UP = ("A question?", "A sentence of a common length, as there are many in documents. " * 4, "A passage that fills the window. " * 40)
# Tokenizing so many characters takes a millisecond, and going to another thread for it a tenth.
_CHARS_AT_ONCE = 4_000

log = logging.getLogger("ekiben.embedder")


@bentoml.service(name="Embedder", **service_config(_config.timeout_s))
class Embedder:
    """Turns texts into L2-normalized float32 vectors, and scores how well passages answer where `embedder.reranker` names a model."""

    def __init__(self) -> None:
        import torch  # noqa: PLC0415 - this module is imported by services that have no torch

        from services.devices import choose_batch_tokens, choose_device, choose_dtype, choose_encoder_dtype  # noqa: PLC0415
        from services.embedder.model_thread import ModelThread  # noqa: PLC0415

        configure_logging(_settings.logging, "embedder")
        cap_batch_wait(_settings.runtime.batch_wait_cap_ms / 1000)
        if _config.threads:
            torch.set_num_threads(_config.threads)
        device = choose_device(_config.device)
        dtype, tokens = choose_encoder_dtype(_config.dtype, device), choose_batch_tokens(_config.max_batch_tokens, device)
        encoders = [_load_encoder(source, device, dtype, tokens) for source in (_config.model, _config.next_model) if source]
        self._encoders = {encoder.info.fingerprint: encoder for encoder in encoders}
        reranker_dtype = choose_dtype(_config.dtype, device)
        self._reranker = _load_reranker(_config.reranker, device, reranker_dtype, tokens) if _config.reranker else None
        self._queries = QueryCache(_config.query_cache)
        self._model = ModelThread(_observe_pass)

    @bentoml.on_shutdown
    def close(self) -> None:
        """End the thread of the model."""
        self._model.close()

    @bentoml.api
    @answers_errors
    async def embed(self, items: list[EmbedItem]) -> list[EmbedResult]:
        """One unit vector a text, in order. Texts of concurrent requests share the passes of the model, and what is not `bulk` goes first."""
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
        known = [self._queries.get(fingerprint, item) for item in items]
        missing = [item for item, result in zip(items, known, strict=True) if result is None]
        made = iter(await self._compute(fingerprint, missing) if missing else [])
        return [next(made) if result is None else result for result in known]

    async def _compute(self, fingerprint: str, items: Sequence[EmbedItem]) -> list[EmbedResult]:
        from services.embedder.encoder import join  # noqa: PLC0415 - see __init__

        encoder = self._encoders[fingerprint]
        cut = await _cut(encoder, items)
        vectors, batches = await self._model.embed(encoder.engine, cut, bulk=all(item.bulk for item in items))
        made = {"fingerprint": fingerprint, "dtype": encoder.info.dtype}
        results = [
            EmbedResult(vector=pack(one.vector), tokens=one.tokens, windows=one.windows, batch=batch, **made)
            for one, batch in zip(join(cut, vectors), batches, strict=True)
        ]
        for item, result in zip(items, results, strict=True):
            self._queries.put(item, result)
        return results

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
        reranker = self._reranker
        scored, cost = await self._model.run(lambda: reranker.score(items))
        elapsed = time.perf_counter() - started
        _observe("rerank", elapsed, len(items), cost.tokens, cost.padded_tokens)
        return [_rerank_result(one, own) for one, own in zip(scored, batch_stats("embedder", "rerank", len(items), elapsed), strict=True)]

    @bentoml.api
    @answers_errors
    async def rerankers(self) -> list[RerankerInfo]:
        """The running reranker, or none."""
        return [self._reranker.info] if self._reranker else []


async def _cut(encoder: "SentenceEncoder", items: Sequence[EmbedItem]) -> "list[Windows]":
    """The windows of the texts; tokenized beside the model and the event loop where there is much of it."""
    if sum(len(item.text) for item in items) <= _CHARS_AT_ONCE:
        return encoder.cut(items)
    return await asyncio.to_thread(encoder.cut, items)


def _load_encoder(source: str, device: str, dtype: "torch.dtype", max_batch_tokens: int) -> "SentenceEncoder":
    from services.embedder.encoder import SentenceEncoder  # noqa: PLC0415 - see __init__

    encoder = SentenceEncoder(_folder(source), name=_name(source), device=device, dtype=dtype, max_batch_tokens=max_batch_tokens)
    encoder.encode([EmbedItem(text=text) for text in _WARM_UP])
    info = encoder.info
    log.info("encoder ready", extra=info.model_dump(include={"model", "fingerprint", "device", "dtype", "engine"}))
    return encoder


def _load_reranker(source: str, device: str, dtype: "torch.dtype", max_batch_tokens: int) -> "CrossEncoderReranker":
    from services.embedder.reranker import CrossEncoderReranker  # noqa: PLC0415 - see __init__

    reranker = CrossEncoderReranker(_folder(source), name=_name(source), device=device, dtype=dtype, max_batch_tokens=max_batch_tokens)
    reranker.score([RerankItem(query=_WARM_UP[0], text=text) for text in _WARM_UP])
    log.info("reranker ready", extra=reranker.info.model_dump())
    return reranker


def _folder(source: str) -> Path:
    from services.model_source import resolve  # noqa: PLC0415 - see __init__

    token = _settings.models.hub_token
    return resolve(source, token.get_secret_value() if token else None)


def _name(source: str) -> str:
    return source.partition("@sha256:")[0]


def _observe_pass(done: "Pass") -> None:
    _observe("embed", done.seconds, done.items, done.tokens, done.computed_tokens)
    for wait in done.waits_s:
        BATCH_WAIT_SECONDS.labels(service="embedder", operation="embed").observe(wait)


def _observe(operation: str, seconds: float, items: int, tokens: int, computed_tokens: int) -> None:
    labels = {"service": "embedder", "operation": operation}
    BATCH_SECONDS.labels(**labels).observe(seconds)
    BATCH_ITEMS.labels(**labels).observe(items)
    BATCH_TOKENS.labels(**labels).observe(tokens)
    BATCH_PADDING.labels(**labels).observe(1 - tokens / computed_tokens)


def _rerank_result(scored: "Scored", batch: BatchStats) -> RerankResult:
    error = Internal("the reranker gave this pair no finite number").info() if scored.score is None else None
    return RerankResult(score=scored.score, tokens=scored.tokens, windows=scored.windows, error=error, batch=batch)


behind_border(Embedder, max_body_bytes=_settings.gateway.max_body_bytes, stops_paths=("/embed",))
