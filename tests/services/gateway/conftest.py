"""The gateway's routes over parts in memory and jobs on disk."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from core.settings import JobsSettings, in_configs, load_settings
from pipelines.answering.answer import AnswerQuestion
from pipelines.answering.calibration import read_calibration
from pipelines.ingestion.ingest import IngestDocuments
from pipelines.ingestion.isolating import IsolatedLoader
from services.gateway.answering import Answering
from services.gateway.app import gateway_app
from services.gateway.jobs.runner import Jobs
from services.gateway.records.recorder import Recorder
from tests.services.gateway.fakes import FakeGenerator, FakeRetriever

SETTINGS = load_settings()


@pytest.fixture
def retriever() -> FakeRetriever:
    return FakeRetriever()


@pytest.fixture
def generator() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def job_settings(tmp_path: Path) -> JobsSettings:
    few = {"sync_documents": 5, "sync_chars": 90, "max_queued_items": 256, "max_queued_bytes": 1_000_000}
    return SETTINGS.jobs.model_copy(update={"data_dir": tmp_path / "jobs", **few})


@pytest.fixture
async def api(retriever: FakeRetriever, generator: FakeGenerator, job_settings: JobsSettings) -> AsyncIterator[httpx.AsyncClient]:
    ingest = IngestDocuments(retriever, retriever, SETTINGS.ingestion)
    jobs = Jobs(job_settings, SETTINGS.ingestion, ingest, IsolatedLoader(SETTINGS.ingestion), first_pause_s=0.01)
    records = Recorder(SETTINGS.records.model_copy(update={"data_dir": job_settings.data_dir.parent / "records"}))
    answer = AnswerQuestion(retriever, generator, SETTINGS.answering, read_calibration(in_configs(SETTINGS.answering.calibration)))
    app = gateway_app(retriever, generator, ingest, jobs, Answering(answer, records), records, SETTINGS.model_copy(update={"jobs": job_settings}))
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        yield client
