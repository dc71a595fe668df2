"""A report and a comparison as text for people."""

from collections.abc import Iterator, Sequence

from pipelines.evaluation.comparing import Comparison, Difference
from pipelines.evaluation.report import Measure, Report, SetReport

Line = tuple[str, ...]
_MAX_FAILURES = 10
SHOWN_FROM_MS = 1.0
"""Stages whose 95th percentile is below stay out of the table and the plot."""


def render_report(report: Report) -> str:
    """All sets, one below the other."""
    return "\n\n".join("\n".join(_render_set(one)) for one in report.sets)


def _render_set(report: SetReport) -> Iterator[str]:
    yield f"{report.name}: {len(report.rows)} questions, {report.documents} documents"
    yield ""
    yield from align([("measure", "value", "95 % interval", "n"), *(_measure_line(measure) for measure in report.measures)])
    yield ""
    stages = ((one.journey, one.stage, f"{one.p50_ms:.0f}", f"{one.p95_ms:.0f}") for one in report.latencies if one.p95_ms >= SHOWN_FROM_MS)
    yield from align([("journey", "stage", "p50 ms", "p95 ms"), *stages])
    yield ""
    yield f"offsets    {report.offsets_checked - report.offsets_broken} of {report.offsets_checked} resolve against the stored text"
    yield from render_failures(report)


def render_failures(report: SetReport) -> Iterator[str]:
    """What went wrong: questions and documents that failed, answers and searches without one of their parts."""
    if degraded := sum(row.degraded for row in report.rows):
        yield f"degraded   {degraded} questions, of which a part was late or failed; their figures count"
    if report.documents_failed:
        yield f"documents  {report.documents_failed} of the set were refused and are not stored"
    if report.failed:
        yield f"FAILED     {len(report.failed)} questions, counted in no measure"
        yield from (f"           {row.id}: {row.error.message} ({row.error.code})" for row in report.failed[:_MAX_FAILURES] if row.error)


def _measure_line(measure: Measure) -> Line:
    return measure.name, number(measure.value), f"{number(measure.low)} to {number(measure.high)}", str(measure.n)


def render_comparison(comparison: Comparison) -> str:
    """Each measure before and after, and what was not compared."""
    head = ("measure", "before", "after", "difference", "95 % interval", "p", "p of all", "")
    lines = [f"{comparison.name} against the baseline", "", *align([head, *map(_difference_line, comparison.differences)]), ""]
    if comparison.not_compared:
        lines.append(f"not compared, because one of the runs lacks it: {', '.join(comparison.not_compared)}")
    if comparison.missing:
        lines.append(f"{comparison.missing} questions are not in both runs, or failed in one")
    losses = ", ".join(difference.name for difference in comparison.losses)
    return "\n".join([*lines, f"LOSS: {losses}" if losses else "no significant loss"])


def _difference_line(difference: Difference) -> Line:
    return (
        difference.name,
        number(difference.before),
        number(difference.after),
        f"{difference.after - difference.before:+.3f}",
        f"{difference.low:+.3f} to {difference.high:+.3f}",
        f"{difference.p:.4f}",
        f"{difference.p_family:.4f}",
        "" if difference.verdict == "same" else difference.verdict.upper(),
    )


def number(value: float | None) -> str:
    """Three decimals; a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


def align(lines: Sequence[Line]) -> list[str]:
    """Columns: the first one to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [_aligned(line, widths) for line in lines]


def _aligned(line: Line, widths: Sequence[int]) -> str:
    cells = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
    return "  ".join(cells).rstrip()
