"""Replays as text for people."""

import textwrap

from core.schemas import (
    CitationDifference,
    ConditionDifference,
    Difference,
    OutcomeDifference,
    PassageDifference,
    Replay,
    SentenceDifference,
    Setting,
)

_WIDTH = 100
_MARKS = {"gained": "+", "lost": "-", "moved": "~", "changed": "~"}


def render_replay(replay: Replay) -> str:
    """What was asked, what differs, and whether the answer is the same."""
    record = replay.record
    lines = [f"Q: {record.request.question}", f"   {record.id}, answered {record.created_at}", ""]
    lines += [_render(difference) for difference in replay.differences]
    changed = any(isinstance(difference, ConditionDifference) for difference in replay.differences)
    lines += [""] if replay.differences else []
    if replay.identical:
        lines.append("the answer is identical" + (", though it was made with something else" if changed else ""))
    else:
        lines.append("the answer is different" + ("" if changed else ", though it was made with the same") + "; now it is:")
        lines += ["", textwrap.fill(replay.answer.answer, _WIDTH)]
    return "\n".join(lines)


def _render(difference: Difference) -> str:
    match difference:
        case ConditionDifference() | OutcomeDifference():
            name = difference.name if isinstance(difference, ConditionDifference) else difference.kind
            prefix = "generator " if difference.kind == "generator" else ""
            return f"  {prefix}{name}: {_shown(difference.before)} -> {_shown(difference.after)}"
        case PassageDifference():
            return f"{_MARKS[difference.change]} passage {difference.chunk_id} ({difference.collection}), {_ranks(difference)}"
        case SentenceDifference():
            text = textwrap.shorten(difference.text, _WIDTH - 12)
            return f"{_MARKS[difference.change]} sentence {text}"
        case CitationDifference():
            citation = difference.citation
            place = f"{citation.document_id}, characters {citation.start} to {citation.end}"
            return f"{_MARKS[difference.change]} citation of sentence {citation.sentence + 1}: {place}"


def _ranks(difference: PassageDifference) -> str:
    before, after = difference.rank_before, difference.rank_after
    if difference.change == "changed":
        return f"another text, rank {before} -> {after}"
    return f"rank {before or after}" if before is None or after is None else f"rank {before} -> {after}"


def _shown(value: Setting) -> str:
    return "none" if value is None else str(value)
