"""A report as one page that loads nothing from anywhere."""

from collections.abc import Iterator, Sequence
from html import escape

from clients.evaluating.plots import plots_of
from clients.evaluating.tables import number, render_failures
from pipelines.evaluation.comparing import Comparison
from pipelines.evaluation.report import Report, SetReport

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left } .loss { color: #b00020; font-weight: bold } .gain { color: #1b6e3c }
svg { max-width: 100%; height: auto; display: block; margin: 1rem 0 } pre { background: #f4f4f4; padding: .8rem; overflow-x: auto }
"""


def render_page(report: Report, comparisons: Sequence[Comparison]) -> str:
    """HTML with tables and plots; `comparisons` belong to the sets of the same name."""
    by_name = {comparison.name: comparison for comparison in comparisons}
    parts = [part for one in report.sets for part in _section(one, by_name.get(one.name))]
    about = f"{report.date}, Python {report.python}, " + ", ".join(f"{name} {version}" for name, version in report.packages.items())
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>Evaluation of {escape(report.date)}</title><style>{_STYLE}</style></head><body>',
            "<h1>Evaluation</h1>",
            f"<p>{escape(about)}</p><pre>{escape(report.options.model_dump_json(indent=1))}</pre>",
            *parts,
            "</body></html>\n",
        ]
    )


def _section(report: SetReport, comparison: Comparison | None) -> Iterator[str]:
    yield f"<h2>{escape(report.name)}</h2><p>{len(report.rows)} questions, {report.documents} documents; "
    yield f"{report.offsets_checked - report.offsets_broken} of {report.offsets_checked} offsets resolve against the stored text.</p>"
    if failures := "\n".join(render_failures(report)):
        yield f'<pre class="loss">{escape(failures)}</pre>'
    measures = ((one.name, number(one.value), f"{number(one.low)} to {number(one.high)}", str(one.n)) for one in report.measures)
    yield _table(("measure", "value", "95 % interval", "questions"), measures)
    if comparison:
        yield from _against_baseline(comparison)
    yield from plots_of(report)
    latencies = ((one.journey, one.stage, f"{one.p50_ms:.1f}", f"{one.p95_ms:.1f}", str(one.n)) for one in report.latencies)
    yield _table(("journey", "stage", "p50 ms", "p95 ms", "questions"), latencies)
    yield f"<details><summary>What was measured</summary><pre>{escape(report.measured.model_dump_json(indent=1))}</pre></details>"


def _against_baseline(comparison: Comparison) -> Iterator[str]:
    yield "<h3>Against the baseline</h3>"
    head = ("measure", "before", "after", "difference, 95 % interval", "p of all", "")
    yield _table(
        head,
        (
            (
                one.name,
                number(one.before),
                number(one.after),
                f"{one.after - one.before:+.3f}, {one.low:+.3f} to {one.high:+.3f}",
                f"{one.p_family:.4f}",
                "" if one.verdict == "same" else one.verdict,
            )
            for one in comparison.differences
        ),
    )


def _table(head: Sequence[str], lines: Iterator[tuple[str, ...]]) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    rows = "".join(f"<tr>{''.join(_cell(cell) for cell in line)}</tr>" for line in lines)
    return f"<table><tr>{cells}</tr>{rows}</table>"


def _cell(text: str) -> str:
    mark = f' class="{text}"' if text in ("loss", "gain") else ""
    return f"<td{mark}>{escape(text)}</td>"
