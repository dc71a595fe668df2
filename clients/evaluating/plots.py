"""The plots of a report as SVG, to stand inside a page. Drawn by matplotlib, which is imported here alone."""

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clients.evaluating.tables import SHOWN_FROM_MS
from pipelines.evaluation.report import Latency, Measure, SetReport

_SIZE = (6.4, 3.2)
_COLOUR, _LIGHT = "#2f6f8f", "#a9c8d6"
_DECIDING = "nDCG@10"


def plots_of(report: SetReport) -> list[str]:
    """Those that the report has the numbers for: nDCG by mode, risk and coverage, latency by stage."""
    by_mode = [measure for measure in report.measures if measure.name.endswith(f" {_DECIDING}")]
    stages = [one for one in report.latencies if one.p95_ms >= SHOWN_FROM_MS]
    return [
        *([_quality(by_mode, report.name)] if by_mode else []),
        *([_risk(report)] if report.coverage else []),
        *([_latency(stages, report.name)] if stages else []),
    ]


def _quality(measures: Sequence[Measure], name: str) -> str:
    figure, axes = _figure(f"{_DECIDING} by mode, with 95 % intervals")
    for place, measure in enumerate(measures):
        value, low, high = (bound or 0.0 for bound in (measure.value, measure.low, measure.high))
        axes.barh(place, value, height=0.5, color=_LIGHT)
        axes.errorbar(value, place, xerr=[[value - low], [high - value]], color=_COLOUR, capsize=4)
    axes.set_yticks(range(len(measures)), [measure.name.removesuffix(f" {_DECIDING}") for measure in measures])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    return _svg(figure, f"{name} quality")


def _risk(report: SetReport) -> str:
    figure, axes = _figure("risk and coverage, most confident answers first")
    axes.plot(report.coverage, report.risk, color=_COLOUR)
    axes.set_xlabel("share of questions answered")
    axes.set_ylabel("share of wrong answers")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, None)
    return _svg(figure, f"{report.name} risk")


def _latency(latencies: Sequence[Latency], name: str) -> str:
    figure, axes = _figure("latency by stage: median, and up to the 95th percentile (ms)", height=1.2 + 0.3 * len(latencies))
    for place, one in enumerate(latencies):
        axes.barh(place, one.p95_ms, color=_LIGHT)
        axes.barh(place, one.p50_ms, color=_COLOUR)
    axes.set_yticks(range(len(latencies)), [f"{one.journey}: {one.stage}" for one in latencies])
    axes.invert_yaxis()
    return _svg(figure, f"{name} latency")


def _figure(title: str, height: float = _SIZE[1]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_SIZE[0], height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure, salt: str) -> str:
    """The drawing alone, without the head of an XML file. The ids inside begin with those of no other plot, and are the same on every run."""
    drawn = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]
