"""Results as text for people."""

import textwrap
from collections.abc import Sequence

from core.schemas import Answer, Citation, DocumentSummary, Passage, ServiceStatus

_WIDTH = 100
_EXCERPT_CHARS = 300


def render_answer(answer: Answer) -> str:
    """The answer with numbered citations under it."""
    marks: dict[int, list[int]] = {}
    for number, citation in enumerate(answer.citations, 1):
        marks.setdefault(citation.sentence, []).append(number)
    lines = [textwrap.fill(answer.answer, _WIDTH)]
    lines += [f"  note: {note}" for note in answer.notes]
    if answer.abstained and answer.passages:
        lines += ["", "Nearest passages:", render_passages(answer.passages[:3])]
    lines += ["", *(_render_citation(number, citation) for number, citation in enumerate(answer.citations, 1))] if answer.citations else []
    confidence = "unknown" if answer.confidence is None else f"{answer.confidence:.2f}"
    lines += ["", f"confidence {confidence}, {answer.timings_ms.get('total', 0):.0f} ms"]
    return "\n".join(lines)


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
    return head + "\n" + textwrap.indent(textwrap.fill(textwrap.shorten(passage.text, _EXCERPT_CHARS), _WIDTH - 3), "   ")


def render_document_row(document: DocumentSummary) -> str:
    """One line a document."""
    return f"{document.collection}\t{document.id}\t{document.chars} characters\t{document.chunks} chunks\t{document.title}"


def render_status(status: ServiceStatus) -> str:
    """A few lines on all parts."""
    lines = [f"Ekiben {status.version}: {'ready' if status.ready else 'NOT ready'}"]
    if status.store:
        lines.append(f"store      {status.store.documents} documents, {status.store.chunks} chunks, version {status.store.index_version}")
        lines += [f"           {name}: {count} documents" for name, count in status.store.collections.items()]
        if status.store.encoder:
            encoder = status.store.encoder
            lines.append(f"encoder    {encoder.model}, {encoder.dim} dimensions, {encoder.dtype} on {encoder.device}, {encoder.fingerprint}")
    if status.generator:
        lines.append(f"generator  {' '.join(part for part in (status.generator.backend, status.generator.model, status.generator.device) if part)}")
    lines += [f"problem    {problem.message}" for problem in status.problems]
    return "\n".join(lines)
