"""One evaluation from sets to report."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from clients.evaluating.asking import ask_all
from clients.evaluating.stores import Place, place_of, shaping_settings
from clients.http_client import EkibenClient
from core.settings import load_settings
from pipelines.evaluation.question_sets import QuestionSet, sample_evenly
from pipelines.evaluation.report import Measured, Options, Report, SetReport
from pipelines.evaluation.summarizing import curve, latencies, summarize, with_retrieval_scores

_SCORERS = ("ir-measures", "pytrec-eval-terrier", "rouge-score", "sentencex", "numpy")


def evaluate(sets: Sequence[QuestionSet], options: Options, data: Path | None, url: str | None) -> Report:
    """Each set in its place (see `place_of`), one after the other. Raises EkibenError; a question that fails is a row with an error."""
    reports = []
    for of in sets:
        with place_of(of, data, url) as place:
            reports.append(_evaluate_set(of, options, place, is_own=url is None))
    return Report(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        python=platform.python_version(),
        packages={name: version(name) for name in _SCORERS},
        options=options,
        sets=tuple(reports),
    )


def _evaluate_set(of: QuestionSet, options: Options, place: Place, *, is_own: bool) -> SetReport:
    questions = sample_evenly(of.questions, options.questions)
    rows = with_retrieval_scores(ask_all(questions, of, place, options), of)
    coverage, risk = curve(rows, of)
    return SetReport(
        name=of.name,
        digest=of.digest,
        split=options.split,
        documents=place.documents,
        documents_failed=place.failed,
        measured=_measured(place.url, is_own=is_own),
        measures=summarize(rows, of),
        latencies=latencies(rows),
        coverage=coverage,
        risk=risk,
        rows=rows,
    )


def _measured(url: str, *, is_own: bool) -> Measured:
    with EkibenClient(url) as client:
        status = client.status()
    return Measured(
        version=status.version,
        encoder=status.store.encoder if status.store else None,
        generator=status.generator,
        settings=shaping_settings(load_settings()) if is_own else None,
    )
