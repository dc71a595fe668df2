"""The backend that the settings name, built with its model. Libraries are imported with what needs them: not every container has them all."""
# ruff: noqa: PLC0415

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from core.errors import InvalidSettings, ModelUnavailable
from core.schemas import EmbedItem, EmbedResult
from core.settings import GeneratorSettings, ModelsSettings
from services.generator.backend import Backend
from services.generator.engines.engine import TextEngine

EmbedTexts = Callable[[Sequence[EmbedItem]], Awaitable[Sequence[EmbedResult]]]
IsReady = Callable[[float], Awaitable[bool]]


def load_backend(config: GeneratorSettings, models: ModelsSettings, embed: EmbedTexts, embedder_is_ready: IsReady) -> Backend:
    """The backend, ready to work; the Embedder is for the extractive one. Raises ModelUnavailable or InvalidSettings."""
    if config.backend == "extractive":
        from services.generator.backends.extractive import ExtractiveBackend
        from services.generator.sentence_vectors import SentenceVectors

        return ExtractiveBackend(SentenceVectors(embed, config.vector_cache_bytes), config.mmr_lambda, embedder_is_ready)
    from services.generator.backends.writing import WritingBackend
    from services.generator.prompting import load_prompts

    engine = _engine(config, models)
    prompts = load_prompts(config.prompts or engine.default_prompts, engine.prefix)
    return WritingBackend(engine, prompts, max_new_tokens=config.max_new_tokens)


def _engine(config: GeneratorSettings, models: ModelsSettings) -> TextEngine:
    if not config.model:
        raise ModelUnavailable(f"generator.backend is {config.backend}, but generator.model names no model")
    if config.backend == "openai":
        return _remote(config, config.model)
    token = models.hub_token.get_secret_value() if models.hub_token else None
    return _local(config, config.model, token)


def _remote(config: GeneratorSettings, model: str) -> TextEngine:
    from services.generator.engines.remote import RemoteEngine

    if not config.base_url:
        raise InvalidSettings("generator.backend is openai, but generator.base_url names no server")
    return RemoteEngine(
        config.base_url,
        model,
        api_key=config.api_key.get_secret_value() if config.api_key else None,
        context_tokens=config.context_tokens,
        max_new_tokens=config.max_new_tokens,
        timeout_s=config.timeout_s,
        connect_timeout_s=config.connect_timeout_s,
        max_retries=config.max_retries,
        concurrency=config.max_running,
    )


def _local(config: GeneratorSettings, model: str, hub_token: str | None) -> TextEngine:
    from services.devices import choose_device, choose_dtype
    from services.generator.engines.metrics import EngineMetrics
    from services.model_source import resolve

    folder, name = resolve(model, hub_token), model.partition("@sha256:")[0]
    if config.backend == "ctranslate2":
        from services.generator.engines.ctranslate2 import Ctranslate2Engine

        return Ctranslate2Engine(
            folder,
            name=name,
            cache=Path(config.cache_dir),
            max_new_tokens=config.max_new_tokens,
            max_batch_tokens=config.max_batch_tokens,
            max_running=config.max_running,
            observer=EngineMetrics(),
        )
    from services.generator.engines.causal import CausalEngine
    from services.generator.engines.seq2seq import Seq2SeqEngine

    device = choose_device(config.device)
    engine = CausalEngine if config.backend == "causal" else Seq2SeqEngine
    return engine(
        folder,
        name=name,
        device=device,
        dtype=choose_dtype(config.dtype, device),
        max_new_tokens=config.max_new_tokens,
        max_batch_tokens=config.max_batch_tokens,
        max_running=config.max_running,
        kv_tokens=config.kv_tokens,
        observer=EngineMetrics(device),
    )
