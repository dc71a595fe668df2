import asyncio
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from core.errors import DependencyUnavailable, IndexMismatch, Internal, NotReady, StorageFull
from core.schemas import DEFAULT_COLLECTION, DocumentResult, FieldMap, Job, SplitDocument
from core.settings import JobsSettings, load_settings
from core.telemetry import request_id
from pipelines.ingestion.ingest import IngestDocuments
from pipelines.ingestion.isolating import IsolatedLoader
from pipelines.ingestion.loading import load_file
from pipelines.ingestion.refusing import Loaded
from services.gateway.jobs.queue import Item, JobQueue, Upload
from services.gateway.jobs.runner import MAX_STARTS, ItemWorker, Jobs
from tests.services.gateway.fakes import FakeRetriever

LIMITS = load_settings().ingestion.model_copy(update={"max_file_bytes": 100_000})


class LoaderInPlace(IsolatedLoader):
    """Loads in this process, which is faster."""

    def load_file(self, path: Path, *, id: str, name: str | None = None, fields: FieldMap = FieldMap()) -> list[Loaded]:  # noqa: A002, B008
        return load_file(path, id=id, limits=LIMITS, name=name, fields=fields)


class GatedRetriever(FakeRetriever):
    """Before it stores documents it says that it is asked, and waits until it may go on. `troubles` are raised first, one a call."""

    def __init__(self, troubles: Sequence[Exception] = ()) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.troubles = list(troubles)
        self.request_ids: set[str] = set()

    async def add(self, documents: Sequence[SplitDocument]) -> Sequence[DocumentResult]:
        self.asked.set()
        await self.may_go_on.wait()
        self.request_ids.add(request_id.get())
        if self.troubles:
            raise self.troubles.pop(0)
        return await super().add(documents)


Start = Callable[[FakeRetriever], Jobs]


@pytest.fixture
def start(job_settings: JobsSettings) -> Start:
    def start(retriever: FakeRetriever) -> Jobs:
        ingest = IngestDocuments(retriever, retriever, LIMITS)
        return Jobs(job_settings, LIMITS, ingest, LoaderInPlace(LIMITS), first_pause_s=0.001)

    return start


def _texts(*ids: str) -> list[Upload]:
    return [Upload(one, "json", io.BytesIO(json.dumps({"id": one, "text": f"Text of {one}."}).encode())) for one in ids]


def _file(name: str, content: bytes) -> list[Upload]:
    return [Upload(name, "file", io.BytesIO(content))]


def _lines(count: int) -> bytes:
    return "\n".join(json.dumps({"_id": f"d{number}", "text": f"Text {number}."}) for number in range(count)).encode()


async def _submit(jobs: Jobs, uploads: Sequence[Upload]) -> Job:
    return await jobs.submit(DEFAULT_COLLECTION, FieldMap(), uploads)


async def _end(jobs: Jobs, job: Job) -> Job:
    while (job := await asyncio.to_thread(jobs.queue.get, job.id)).finished_at is None:
        pass
    return job


async def test_a_job_is_worked_off_under_its_own_request_id(start: Start) -> None:
    retriever = GatedRetriever()
    retriever.may_go_on.set()
    jobs = start(retriever)
    async with jobs.running():
        job = await _end(jobs, await _submit(jobs, [*_texts("a", "b"), *_file("c.md", b"# Title\n\nText.")]))
    assert (job.state, job.items_done, job.documents.created, retriever.order) == ("done", 3, 3, ["a", "b", "c.md"])
    assert retriever.request_ids == {job.id}


async def test_nothing_is_taken_before_the_start_and_after_the_end(start: Start) -> None:
    jobs = start(FakeRetriever())
    with pytest.raises(NotReady):
        await _submit(jobs, _texts("a"))
    async with jobs.running():
        pass
    with pytest.raises(NotReady):
        await _submit(jobs, _texts("a"))


async def test_a_stop_in_the_middle_of_an_item_leaves_it_for_the_next_start_without_a_request(start: Start, job_settings: JobsSettings) -> None:
    stuck, free = GatedRetriever(), FakeRetriever()
    jobs = start(stuck)
    for attempt in range(MAX_STARTS + 1):  # a service that is stopped in order is no sign of a bad item
        async with jobs.running():
            if attempt == 0:
                job = await _submit(jobs, _texts("a", "b"))
            await stuck.asked.wait()
        stuck.asked.clear()
        jobs = start(stuck)
    jobs = start(free)
    async with jobs.running():
        done = await _end(jobs, job)
    assert (done.state, done.documents.created, done.errors, free.order) == ("done", 2, (), ["a", "b"])
    assert list((job_settings.data_dir / "spool").iterdir()) == []


@pytest.mark.parametrize("trouble", [DependencyUnavailable("no Retriever"), StorageFull("full"), IndexMismatch("another encoder")])
async def test_what_is_not_the_items_fault_is_waited_out(start: Start, trouble: Exception) -> None:
    retriever = GatedRetriever([trouble] * (MAX_STARTS + 2))
    retriever.may_go_on.set()
    jobs = start(retriever)
    async with jobs.running():
        job = await _end(jobs, await _submit(jobs, _texts("a", "b")))
    assert (job.documents.created, job.errors, sorted(retriever.order)) == (2, (), ["a", "b"])


@pytest.mark.parametrize("kind", ["document", "file"])
async def test_a_document_that_finds_no_space_now_is_stored_later(start: Start, kind: str) -> None:
    class FullAtFirst(FakeRetriever):
        async def add(self, documents: Sequence[SplitDocument]) -> Sequence[DocumentResult]:
            self.full = not hasattr(self, "full")
            error = StorageFull("full").info()
            return (
                [DocumentResult(id=one.document.id, state="failed", error=error) for one in documents] if self.full else await super().add(documents)
            )

    retriever = FullAtFirst()
    jobs = start(retriever)
    async with jobs.running():
        job = await _end(jobs, await _submit(jobs, _texts("a") if kind == "document" else _file("a.txt", b"Text.")))
    assert (job.documents.created, job.errors, len(retriever.order)) == (1, (), 1)


async def test_an_error_of_its_own_fails_the_item_alone(start: Start) -> None:
    retriever = GatedRetriever([Internal("can't store it")])
    retriever.may_go_on.set()
    jobs = start(retriever)
    async with jobs.running():
        job = await _end(jobs, await _submit(jobs, _texts("a", "b")))
    assert [(error.id, error.error.code if error.error else "") for error in job.errors] == [("a", "internal")]
    assert (job.state, job.documents.created) == ("done", 1)


async def test_an_item_that_fails_in_an_unforeseen_way_is_given_up_after_some_tries_and_the_others_go_on(start: Start) -> None:
    retriever = GatedRetriever([KeyError("unforeseen")] * MAX_STARTS)
    retriever.may_go_on.set()
    jobs = start(retriever)
    async with jobs.running():
        job = await _end(jobs, await _submit(jobs, _texts("a", "b")))
    assert [(error.id, error.error.code if error.error else "") for error in job.errors] == [("a", "document_unreadable")]
    assert retriever.order == ["b"]


async def test_an_item_that_has_ended_the_service_three_times_is_given_up(start: Start, job_settings: JobsSettings) -> None:
    queue = JobQueue.open(job_settings)
    job = queue.submit(DEFAULT_COLLECTION, FieldMap(), _texts("poison", "good"))
    for _ in range(MAX_STARTS):
        assert queue.take() is not None
        queue.close()
        queue = JobQueue.open(job_settings)
    queue.close()
    retriever = FakeRetriever()
    jobs = start(retriever)
    async with jobs.running():
        done = await _end(jobs, job)
    assert [error.id for error in done.errors] == ["poison"]
    assert done.errors[0].error is not None
    assert "3 times" in done.errors[0].error.message
    assert retriever.order == ["good"]


async def test_cancelling_stops_inside_a_file_of_many_documents(start: Start) -> None:
    retriever = GatedRetriever()
    jobs = start(retriever)
    async with jobs.running():
        job = await _submit(jobs, [*_file("many.jsonl", _lines(200)), *_texts("never")])
        await retriever.asked.wait()
        cancelled = await asyncio.to_thread(jobs.queue.cancel, job.id)
        assert (cancelled.state, cancelled.items_done) == ("cancelled", 0)
        retriever.may_go_on.set()
        await _end(jobs, await _submit(jobs, _texts("next")))
        after = await asyncio.to_thread(jobs.queue.get, job.id)
    assert 0 < after.documents.created < 200
    assert after.documents.created == len(retriever.order) - 1 == len(retriever.stored) - 1
    assert "never" not in retriever.order


async def test_a_job_that_is_cancelled_before_its_item_is_read_has_no_error(job_settings: JobsSettings) -> None:
    class CancelledAtOnce(JobQueue):
        def take(self) -> Item | None:
            item = super().take()
            if item is not None:
                self.cancel(item.job_id)
            return item

    queue = CancelledAtOnce.open(job_settings)
    job = queue.submit(DEFAULT_COLLECTION, FieldMap(), _file("a.txt", b"Text."))
    retriever = FakeRetriever()
    assert await ItemWorker(queue, LoaderInPlace(LIMITS), IngestDocuments(retriever, retriever, LIMITS), LIMITS).work_one()
    after = queue.get(job.id)
    assert (after.state, after.documents.failed, after.errors, retriever.order) == ("cancelled", 0, (), [])
    queue.close()


async def test_a_small_job_does_not_wait_for_a_large_one(start: Start) -> None:
    retriever = GatedRetriever()
    jobs = start(retriever)
    async with jobs.running():
        large = await _submit(jobs, _texts(*(f"large{number}" for number in range(20))))
        await retriever.asked.wait()
        small = await _submit(jobs, _texts("small"))
        retriever.may_go_on.set()
        await _end(jobs, small)
        await _end(jobs, large)
    assert retriever.order.index("small") <= 2
    assert [one for one in retriever.order if one != "small"] == [f"large{number}" for number in range(20)]


async def test_a_file_of_many_documents_is_stored_whole_and_an_id_counts_once(start: Start) -> None:
    retriever = FakeRetriever()
    jobs = start(retriever)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.jsonl", _lines(150))
        archive.writestr("b.jsonl", json.dumps({"_id": "d0", "text": "Another text."}))
    async with jobs.running():
        job = await _end(jobs, await _submit(jobs, _file("many.zip", packed.getvalue())))
    assert (job.documents.created, job.documents.failed, [error.id for error in job.errors]) == (150, 1, ["d0"])
    assert retriever.stored[DEFAULT_COLLECTION, "d0"].document.text == "Text 0."


async def test_a_file_above_the_limit_is_refused_under_its_own_name(start: Start) -> None:
    jobs = start(FakeRetriever())
    async with jobs.running():
        job = await _end(jobs, await _submit(jobs, _file("large.txt", b"x" * 100_001)))
    assert job.errors[0].error is not None
    assert job.errors[0].error.code == "document_too_large"
    assert job.errors[0].error.message.startswith("large.txt: 100001 bytes")
