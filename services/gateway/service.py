"""The Gateway: the only service that clients talk to. Runs the journeys over the Retriever and the Generator."""

import asyncio
from typing import cast

import bentoml

from core.schemas import Answer, AnswerRequest, SearchRequest, SearchResponse
from core.settings import in_configs, settings
from core.telemetry import configure_logging
from pipelines.answering.answer import AnswerQuestion
from pipelines.answering.calibration import read_calibration
from pipelines.ingestion.ingest import IngestDocuments
from pipelines.ingestion.isolating import IsolatedLoader
from services.bentoml_runtime import answers_errors, is_ready, service_config
from services.border import behind_border
from services.gateway.answering import Answering
from services.gateway.app import gateway_app
from services.gateway.documents import DOCUMENTS_PATH
from services.gateway.jobs.runner import Jobs
from services.gateway.openai_api.chat import CHAT_PATH
from services.gateway.openai_api.embeddings import EMBEDDINGS_PATH
from services.gateway.openai_api.errors import OPENAI_SHAPE
from services.gateway.openai_api.models import MODELS_PATH
from services.gateway.parts import GeneratorPart, RetrieverPart
from services.gateway.records.recorder import Recorder
from services.generator.service import Generator
from services.retriever.service import Retriever

_settings = settings()
_config = _settings.gateway
# Ours answers first, in our words; BentoML's own timeout is the net below.
_NET_S = 5

_retriever = RetrieverPart(lambda: bentoml.get_current_service().retriever, _settings.retriever.timeout_s)
_generator = GeneratorPart(lambda: bentoml.get_current_service().generator, _settings.generator.timeout_s)
_ingest = IngestDocuments(_retriever, _retriever, _settings.ingestion)
_jobs = Jobs(_settings.jobs, _settings.ingestion, _ingest, IsolatedLoader(_settings.ingestion))
# A stream has to end with an event of its own, before the border cuts it off.
_longest_s = min(_settings.answering.answer_timeout_s, 0.95 * _config.timeout_s)
_limits = _settings.answering.model_copy(update={"answer_timeout_s": _longest_s})
_answer = AnswerQuestion(_retriever, _generator, _limits, read_calibration(in_configs(_limits.calibration)))
_records = Recorder(_settings.records)
_answering = Answering(_answer, _records)
_app = gateway_app(_retriever, _generator, _ingest, _jobs, _answering, _records, _settings)


@bentoml.asgi_app(_app, path="/", name="documents")
@bentoml.service(name="Gateway", **service_config(_config.timeout_s + _NET_S))
class Gateway:
    """Answers questions over the stored documents."""

    retriever = bentoml.depends(Retriever, url=_settings.retriever.url)
    generator = bentoml.depends(Generator, url=_settings.generator.url)

    def __init__(self) -> None:
        configure_logging(_settings.logging, "gateway")

    @bentoml.api(route="/v1/answer")
    @answers_errors
    async def answer(self, request: AnswerRequest, /) -> Answer:
        """Answer a question from the documents; every sentence is cited, every citation checked."""
        # BentoML passes a Response on as it is.
        return cast("Answer", await _answering.stream(request)) if request.stream else await _answering.answer(request)

    @bentoml.api(route="/v1/search")
    @answers_errors
    async def search(self, request: SearchRequest, /) -> SearchResponse:
        """Find passages."""
        return await _retriever.search(request)

    async def __is_ready__(self) -> bool:
        """Ready when all parts are."""
        timeout_s = _settings.runtime.probe_timeout_s
        return all(await asyncio.gather(is_ready(self.retriever, timeout_s), is_ready(self.generator, timeout_s)))


behind_border(
    Gateway,
    max_body_bytes=_config.max_body_bytes,
    max_concurrency=_config.max_concurrency,
    deadline_s=_config.timeout_s,
    multipart_paths=(DOCUMENTS_PATH,),
    entrance=True,
    stops_paths=("/v1/answer", "/v1/search", CHAT_PATH),
    error_shapes=dict.fromkeys((CHAT_PATH, EMBEDDINGS_PATH, MODELS_PATH), OPENAI_SHAPE),
)
