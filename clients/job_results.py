"""The results of documents that the gateway stored as a job, which keeps counts and the failed ones."""

from collections.abc import Sequence

from core.errors import InvalidRequest
from core.schemas import DocumentResult, DocumentState, Job
from pipelines.ingestion.refusing import refuse

_STORED: tuple[DocumentState, ...] = ("created", "updated", "unchanged")


def results_of_job(job: Job, document_ids: Sequence[str]) -> list[DocumentResult]:
    """One result a document of a finished job, in order.

    Exact for a single document. For several, which the client sends as a job only where the gateway's limits are below the usual ones,
    the numbers of each state are right, but not which of the stored documents was created and which updated. Raises nothing: documents
    that a cancelled job did not come to have failed.
    """
    failed = {result.id: result for result in job.errors}
    counts = job.documents
    states = [state for state in _STORED for _ in range(getattr(counts, state))]
    return [failed.get(id_) or _stored(id_, states, job) for id_ in document_ids]


def _stored(document_id: str, states: list[DocumentState], job: Job) -> DocumentResult:
    if states:
        return DocumentResult(id=document_id, state=states.pop(0))
    return refuse(document_id, InvalidRequest(f"job {job.id} was {job.state} without this document; send it again"))
