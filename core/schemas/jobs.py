"""Jobs: ingestion that goes on after the request that brought it has been answered."""

from typing import Annotated, Literal

from pydantic import Field

from core.schemas.documents import DocumentResult
from core.schemas.fields import MAX_PAGE_SIZE, CollectionName, Frozen

MAX_JOB_ERRORS = 1_000

JobState = Literal["queued", "running", "done", "cancelled"]


class DocumentCounts(Frozen):
    """Documents by what became of them."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0


class Job(Frozen):
    """State of a job. An item is one uploaded file, or one document of a large batch; a file may hold several documents.

    `errors` are the results of the first 1,000 documents that failed, `documents.failed` counts all. What a cancelled job had stored before
    stays stored.
    """

    id: str
    collection: str
    state: JobState
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    items: int
    items_done: int
    documents: DocumentCounts
    errors: tuple[DocumentResult, ...] = ()


class JobPage(Frozen):
    """One page of the jobs, newest first; `next` is the cursor of the following one."""

    jobs: tuple[Job, ...]
    next: str | None = None


class ListJobsRequest(Frozen):
    """Which page of the jobs."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE)] = 100
    cursor: str | None = None
    collection: CollectionName | None = None
    state: JobState | None = None
