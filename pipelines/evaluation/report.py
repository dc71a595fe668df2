"""What an evaluation reports: rows a question, measures with their intervals, and what was measured. The JSON of `ekiben eval`."""

from typing import Literal

from pydantic import Field

from core.errors import ErrorInfo
from core.schemas import EncoderSummary, Frozen, GeneratorInfo, Mode


class CitedSpan(Frozen):
    """A citation of an answer. `resolves`: its quote is what stands in the stored document at its offsets; `relevant`: so say the judgements."""

    document_id: str
    start: int
    end: int
    resolves: bool
    relevant: bool

    @property
    def is_right(self) -> bool:
        """Whether it resolves and its document is relevant."""
        return self.resolves and self.relevant


class AnswerRow(Frozen):
    """What came of asking. `text` is empty where the answer was refused, `highlight` where no short answer was marked; `evidence` holds the signals
    behind `confidence`.
    """

    text: str
    abstained: bool
    confidence: float | None
    evidence: dict[str, float] | None = None
    highlight: str = ""
    citations: tuple[CitedSpan, ...]


class Row(Frozen):
    """One question. `error` says what failed; then nothing of it is counted in a measure.

    `found` holds the ids of the first documents by mode, `scores` the value of each measure that applies to the question, `timings_ms`
    milliseconds by journey (`search MODE`, `answer`) and stage. `degraded`: a search or the answer went on without a part that was late or
    failed. `offsets_broken` of the `offsets_checked` returned offsets did not resolve.
    """

    id: str
    answerable: bool
    error: ErrorInfo | None = None
    found: dict[Mode, tuple[str, ...]] = Field(default_factory=dict)
    answer: AnswerRow | None = None
    degraded: bool = False
    scores: dict[str, float] = Field(default_factory=dict)
    offsets_checked: int = 0
    offsets_broken: int = 0
    timings_ms: dict[str, dict[str, float]] = Field(default_factory=dict)


class Measure(Frozen):
    """A measure over `n` questions, with its 95 % bootstrap interval. None where it is not defined."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int


class Latency(Frozen):
    """Milliseconds of a stage of a journey: the median and the 95th percentile over `n` questions."""

    journey: str
    stage: str
    p50_ms: float
    p95_ms: float
    n: int


class Measured(Frozen):
    """What was measured. `settings` are those that shape results, by section; None where the services were running already."""

    version: str
    encoder: EncoderSummary | None
    generator: GeneratorInfo | None
    settings: dict[str, dict[str, bool | int | float | str | None]] | None


class SetReport(Frozen):
    """One set. `coverage` and `risk` are the points of the curve that `abstention.risk_coverage` describes."""

    name: str
    digest: str
    split: str | None
    documents: int
    documents_failed: int
    measured: Measured
    measures: tuple[Measure, ...]
    latencies: tuple[Latency, ...]
    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    rows: tuple[Row, ...]

    @property
    def failed(self) -> tuple[Row, ...]:
        """The questions that failed."""
        return tuple(row for row in self.rows if row.error)

    @property
    def offsets_checked(self) -> int:
        """Returned offsets that were compared with the stored documents."""
        return sum(row.offsets_checked for row in self.rows)

    @property
    def offsets_broken(self) -> int:
        """Those of them that did not resolve."""
        return sum(row.offsets_broken for row in self.rows)


class Options(Frozen):
    """How the questions were chosen and asked."""

    questions: int | None = None
    split: str | None = None
    modes: tuple[Mode, ...] = ("hybrid",)
    top_k: int = 5
    retrieval_only: bool = False
    clients: int = 4


class Report(Frozen):
    """A run over one or more sets; `packages` are the versions of the libraries that score."""

    format: Literal[1] = 1
    date: str
    python: str
    packages: dict[str, str]
    options: Options
    sets: tuple[SetReport, ...]
