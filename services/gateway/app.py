"""The routes that BentoML's POST-only methods can't express, as one Starlette app beside them. The jobs and the records run while it does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.settings import Settings
from pipelines.ingestion.ingest import IngestDocuments
from services.gateway.answering import Answering
from services.gateway.collections import CollectionsApi
from services.gateway.docs_page import docs_page, docs_script
from services.gateway.documents import DocumentsApi
from services.gateway.jobs.api import JobsApi
from services.gateway.jobs.runner import Jobs
from services.gateway.maintenance import MaintenanceApi
from services.gateway.openai_api.chat import ChatApi
from services.gateway.openai_api.embeddings import EmbeddingsApi
from services.gateway.openai_api.models import ModelsApi
from services.gateway.openai_api.usage import TokenCounter
from services.gateway.openapi import openapi_document
from services.gateway.page.page import page_routes
from services.gateway.parts import GeneratorPart, RetrieverPart
from services.gateway.records.api import AnswersApi
from services.gateway.records.recorder import Recorder


def gateway_app(
    retriever: RetrieverPart,
    generator: GeneratorPart,
    ingest: IngestDocuments,
    jobs: Jobs,
    answering: Answering,
    records: Recorder,
    settings: Settings,
) -> Starlette:
    """The app. Its lifespan begins when the service is there, and ends before the service does."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with jobs.running(), records.running():
            yield

    routes = [
        *DocumentsApi(retriever, ingest, jobs, settings.jobs).routes(),
        *JobsApi(jobs).routes(),
        *AnswersApi(records, answering).routes(),
        *CollectionsApi(retriever).routes(),
        *ChatApi(answering, TokenCounter(retriever)).routes(),
        *EmbeddingsApi(retriever).routes(),
        *ModelsApi().routes(),
        *MaintenanceApi(retriever, generator, settings.runtime.probe_timeout_s).routes(),
        Route("/openapi.json", _openapi),
        Route("/docs", _docs),
        Route("/docs.js", _docs_script),
        *page_routes(),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def _openapi(_: Request) -> Response:
    return JSONResponse(openapi_document())


async def _docs(_: Request) -> Response:
    return docs_page()


async def _docs_script(_: Request) -> Response:
    return docs_script()
