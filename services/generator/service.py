"""The Generator: query-focused summaries and cited answers, batched over all requests, by the backend of the settings."""

import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import bentoml

from core.errors import GenerationFailed
from core.schemas import EmbedItem, EmbedResult, GenerationDone, GenerationItem, GenerationResult, GeneratorInfo
from core.settings import settings, shaping
from core.telemetry import BATCH_ITEMS, BATCH_SECONDS, configure_logging
from services.batch_items import batch_stats, each_while_wanted
from services.bentoml_batches import allow_concurrent_batches
from services.bentoml_runtime import answers_errors, call, cap_batch_wait, checked_batch, events, is_ready, service_config
from services.border import behind_border
from services.embedder.service import Embedder
from services.generator.isolation import Work, run_isolated
from services.generator.loading import load_backend

_settings = settings()
_config = _settings.generator
_shaping = shaping("generator", _config)
_batch = {"batchable": True, "max_batch_size": _config.max_batch_items, "max_latency_ms": int(_config.timeout_s * 1000)}

log = logging.getLogger("ekiben.generator")


@bentoml.service(name="Generator", **service_config(_config.timeout_s))
class Generator:
    """Says what passages tell about a question, one summary a passage, and makes an answer of the summaries."""

    embedder = bentoml.depends(Embedder, url=_settings.embedder.url)

    def __init__(self) -> None:
        configure_logging(_settings.logging, "generator")
        cap_batch_wait(_settings.runtime.batch_wait_cap_ms / 1000)
        self._backend = load_backend(_config, _settings.models, self._embed, lambda timeout_s: is_ready(self.embedder, timeout_s))
        if self._backend.batches_itself:
            # What comes while a batch is written joins it, or goes out to another server.
            allow_concurrent_batches(_config.max_running)
        log.info("backend ready", extra=self._backend.info.model_dump(exclude={"settings"}))

    async def _embed(self, items: Sequence[EmbedItem]) -> Sequence[EmbedResult]:
        return await call("the Embedder", self.embedder.to_async.embed, _config.timeout_s, list(items))

    @bentoml.api(**_batch)
    @checked_batch
    async def summarize(self, items: list[GenerationItem]) -> list[GenerationResult]:
        """What the passage of each item says about its question."""
        return await self._measured("summarize", self._backend.summarize, items)

    @bentoml.api(**_batch)
    @checked_batch
    async def compose(self, items: list[GenerationItem]) -> list[GenerationResult]:
        """An answer from the sources of each item."""
        return await self._measured("compose", self._backend.compose, items)

    @bentoml.api
    async def stream(self, item: GenerationItem) -> AsyncGenerator[str, None]:
        """`compose` as it is written: lines of `services.bentoml_runtime.events` that hold a GenerationEvent each."""
        async with aclosing(events(self._events(item))) as lines:
            async for line in lines:
                yield line

    @bentoml.api
    @answers_errors
    async def describe(self) -> GeneratorInfo:
        """What the running backend is."""
        return self._info

    @property
    def _info(self) -> GeneratorInfo:
        return self._backend.info.model_copy(update={"settings": {**_shaping, **self._backend.info.settings}})

    async def _events(self, item: GenerationItem) -> AsyncGenerator[Mapping[str, object], None]:
        async with aclosing(self._backend.stream(item)) as stream:
            async for event in stream:
                update = {"result": event.result.model_copy(update={"generator": self._info})} if isinstance(event, GenerationDone) else None
                yield event.model_copy(update=update).model_dump(mode="json")

    async def _each(self, work: Work, items: list[GenerationItem]) -> list[GenerationResult]:
        """Item by item, so that one whose caller goes away stops alone; the model puts them together again."""
        results = await each_while_wanted(lambda item: run_isolated(work, [item]), items)
        return [result[0] if result else GenerationResult(error=GenerationFailed("nobody waits for this any more").info()) for result in results]

    async def _measured(self, operation: str, work: Work, items: list[GenerationItem]) -> list[GenerationResult]:
        started = time.perf_counter()
        results = await (self._each(work, items) if self._backend.batches_itself else run_isolated(work, items))
        elapsed = time.perf_counter() - started
        BATCH_SECONDS.labels(service="generator", operation=operation).observe(elapsed)
        BATCH_ITEMS.labels(service="generator", operation=operation).observe(len(items))
        batch = batch_stats("generator", operation, len(items), elapsed)
        return [result.model_copy(update={"batch": own, "generator": self._info}) for result, own in zip(results, batch, strict=True)]

    async def __is_ready__(self) -> bool:
        """Ready as soon as what the backend needs is."""
        return await self._backend.is_ready(_settings.runtime.probe_timeout_s)


behind_border(Generator, _settings.gateway.max_body_bytes, stops_paths=("/",))
