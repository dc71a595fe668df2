"""Questions and cited answers."""

from pydantic import StrictBool

from core.errors import ErrorInfo
from core.schemas.batches import BatchStats, TokenUsage, WritingStats
from core.schemas.fields import Frozen, Question, Setting
from core.schemas.generation import GeneratorInfo
from core.schemas.retrieval import Passage, RetrievalOptions


class AnswerRequest(RetrievalOptions):
    """Body of `POST /v1/answer`. With `stream` the answer comes as the events of `core.schemas.events`."""

    question: Question
    debug: StrictBool = False
    stream: StrictBool = False


class Summary(Frozen):
    """The query-focused summary of one passage; `error` says why there is none."""

    document_id: str
    chunk_id: str
    text: str
    error: ErrorInfo | None = None


class Citation(Frozen):
    """Where a sentence of the answer comes from. `sentence` counts the answer's sentences from 0.

    `context` is what stands before the quote, from `context_start` to `start`, where the quote refers back to it; else "". `highlights` are the
    offsets, start and end in the document, of the short answer inside the quote, where one can be told. `verified` is true when the quote stands at
    these offsets of the retrieved passage and the sentence says nothing that quote and context don't hold.
    """

    sentence: int
    document_id: str
    chunk_id: str
    collection: str
    title: str
    page: int | None
    start: int
    end: int
    quote: str
    context_start: int | None = None
    context: str = ""
    highlights: tuple[tuple[int, int], ...] = ()
    verified: bool


class AnswerDebug(Frozen):
    """What went into an answer, for `debug: true`: milliseconds of the retrieval's steps, the batches that the question (None where it was not
    embedded) and its passages were computed in, what a language model did for each passage and for the composition (None where none was asked), and
    the signals that its confidence was computed from. A streamed composition shares no queue, so it has no batch.
    """

    index_version: int
    retrieval_ms: dict[str, float]
    question_batch: BatchStats | None = None
    summary_batches: tuple[BatchStats | None, ...]
    summary_writing: tuple[WritingStats | None, ...] = ()
    compose_batch: BatchStats | None = None
    compose_writing: WritingStats | None = None
    evidence: dict[str, float] | None = None


class Conditions(Frozen):
    """What an answer was made with: the same question under the same conditions has the same answer.

    `version` is Ekiben's; `encoder` the fingerprint of what embedded the question, None where nothing did; `generator` None where no passage
    was read; `settings` are those that shape an answer, by their full names.
    """

    version: str = ""
    index_version: int = 0
    encoder: str | None = None
    generator: GeneratorInfo | None = None
    settings: dict[str, Setting] = {}


class Answer(Frozen):
    """A cited answer. `confidence` is the calibrated probability that the documents answer the question (`pipelines.answering.calibration`); None
    where nothing was found or embedded.

    `sentences` are those of `answer`, as citations count them; none where it abstains. `usage` counts all summaries and the composition; None where
    no language model was asked.
    """

    id: str
    question: str
    answer: str
    sentences: tuple[str, ...] = ()
    abstained: bool
    confidence: float | None
    degraded: bool
    notes: tuple[str, ...] = ()
    citations: tuple[Citation, ...]
    passages: tuple[Passage, ...]
    summaries: tuple[Summary, ...]
    timings_ms: dict[str, float]
    usage: TokenUsage | None = None
    conditions: Conditions = Conditions()
    debug: AnswerDebug | None = None
