"""A process that works off the jobs in a folder until it is killed: `python -m tests.services.gateway.jobs.killed_worker FOLDER`."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from core.schemas import DocumentResult, SplitDocument
from core.settings import load_settings
from pipelines.ingestion.ingest import IngestDocuments
from pipelines.ingestion.isolating import IsolatedLoader
from services.gateway.jobs.runner import Jobs
from tests.services.gateway.fakes import FakeRetriever


class RetrieverOnDisk(FakeRetriever):
    """Documents are files; each store says so on stdout."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    async def add(self, documents: Sequence[SplitDocument]) -> Sequence[DocumentResult]:
        results = []
        for one in documents:
            path = self._folder / one.document.id
            state = "unchanged" if path.exists() else "created"
            path.write_text(one.document.text)
            print(one.document.id, flush=True)
            results.append(DocumentResult.model_validate({"id": one.document.id, "state": state}))
        return results


async def work(folder: Path) -> None:
    """Until the process is killed."""
    settings = load_settings()
    retriever = RetrieverOnDisk(folder / "stored")
    ingest = IngestDocuments(retriever, retriever, settings.ingestion)
    queue = settings.jobs.model_copy(update={"data_dir": folder / "jobs"})
    async with Jobs(queue, settings.ingestion, ingest, IsolatedLoader(settings.ingestion)).running():
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1])))
