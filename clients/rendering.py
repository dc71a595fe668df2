"""Results as text for people."""

import textwrap
from collections.abc import Sequence

from core.schemas import Answer, Citation, Collection, Compaction, DocumentSummary, Job, Passage, ServiceStatus, StoreStatus

_WIDTH = 100
_EXCERPT_CHARS = 300


def render_answer(answer: Answer) -> str:
    """The answer with numbered citations under it."""
    marks: dict[int, list[int]] = {}
    for number, citation in enumerate(answer.citations, 1):
        marks.setdefault(citation.sentence, []).append(number)
    lines = [wrapped(answer.answer)]
    lines += [f"  note: {note}" for note in answer.notes]
    if answer.abstained and answer.passages:
        lines += ["", "Nearest passages:", render_passages(answer.passages[:3])]
    lines += ["", *(_render_citation(number, citation) for number, citation in enumerate(answer.citations, 1))] if answer.citations else []
    confidence = "unknown" if answer.confidence is None else f"{answer.confidence:.2f}"
    lines += ["", f"confidence {confidence}, {answer.timings_ms.get('total', 0):.0f} ms, {answer.id}"]
    return "\n".join(lines)


def wrapped(text: str) -> str:
    """`text` in lines that fit a terminal."""
    return textwrap.fill(text, _WIDTH)


def _render_citation(number: int, citation: Citation) -> str:
    place = f"{citation.document_id}{f', page {citation.page}' if citation.page else ''}, characters {citation.start} to {citation.end}"
    state = "" if citation.verified else " (NOT verified)"
    quote = textwrap.indent(textwrap.fill(" ".join(citation.quote.split()), _WIDTH - 4), "    ")
    return f"[{number}] {place}{state}\n{quote}"


def render_passages(passages: Sequence[Passage]) -> str:
    """One block a passage."""
    return "\n\n".join(_render_passage(rank, passage) for rank, passage in enumerate(passages, 1)) or "nothing found"


def _render_passage(rank: int, passage: Passage) -> str:
    place = f"{passage.document_id}, characters {passage.start} to {passage.end}, score {passage.score:.3f}"
    head = f"{rank}. {passage.title or passage.document_id}  ({place})"
    if passage.headings:
        head += "\n   " + " > ".join(passage.headings)
    return head + "\n" + textwrap.indent(textwrap.fill(textwrap.shorten(passage.text, _EXCERPT_CHARS), _WIDTH - 3), "   ")


def render_document_row(document: DocumentSummary) -> str:
    """One line a document."""
    return f"{document.collection}\t{document.id}\t{document.chars} characters\t{document.chunks} chunks\t{document.title}"


def render_collection(collection: Collection) -> str:
    """One line a collection."""
    sizes = {"chunk_tokens": collection.settings.chunk_tokens, "overlap_tokens": collection.settings.overlap_tokens}
    told = " ".join(f"{key}={value}" for key, value in sizes.items() if value is not None)
    return f"{collection.name}\t{collection.documents} documents\t{collection.chunks} chunks\t{told}\t{collection.settings.description}"


def render_job_row(job: Job) -> str:
    """One line a job."""
    counts = ", ".join(f"{count} {state}" for state, count in job.documents.model_dump().items() if count)
    return f"{job.id}\t{job.state}\t{job.items_done} of {job.items} items\t{job.collection}\t{job.created_at}\t{counts}"


def render_job(job: Job) -> str:
    """The job, and a line for each document that failed."""
    failed = (f"failed {result.id}: {result.error.message} ({result.error.code})" for result in job.errors if result.error)
    return "\n".join([render_job_row(job), *failed])


def render_compaction(receipt: Compaction) -> str:
    """The receipt in a line."""
    return f"{receipt.bytes_before:,} bytes before, {receipt.bytes_after:,} bytes now, {receipt.vectors_dropped} deleted vectors dropped"


def render_status(status: ServiceStatus) -> str:
    """A few lines on all parts."""
    lines = [f"Ekiben {status.version}: {'ready' if status.ready else 'NOT ready'}"]
    if status.store:
        lines += _render_store(status.store)
    if status.generator:
        lines.append(f"generator  {' '.join(part for part in (status.generator.backend, status.generator.model, status.generator.device) if part)}")
    lines += [f"problem    {problem.message}" for problem in status.problems]
    return "\n".join(lines)


def _render_store(store: StoreStatus) -> list[str]:
    lines = [f"store      {store.documents} documents, {store.chunks} chunks, version {store.index_version}"]
    lines += [f"           {name}: {count} documents" for name, count in store.collections.items()]
    lines.append(f"disk       {store.bytes_on_disk:,} bytes, {store.bytes_free:,} of them free")
    if store.reindex:
        progress = store.reindex
        reason = f": {progress.error.message}" if progress.error else ""
        lines.append(f"reindex    {progress.state}, {progress.documents_done} of {progress.documents_total} documents, to {progress.target}{reason}")
    if store.encoder:
        encoder = store.encoder
        lines.append(
            f"encoder    {encoder.model}, {encoder.dim} dimensions, {encoder.dtype} on {encoder.device}, {encoder.engine}, {encoder.fingerprint}"
        )
    if store.reranker:
        reranker = store.reranker
        lines.append(f"reranker   {reranker.model}, {reranker.dtype} on {reranker.device}, weights {reranker.weights_sha256[:16]}")
    return lines
