"""The wire types: what crosses an HTTP border, between clients and gateway and between the services.

All are frozen. Models that a client sends forbid unknown fields and don't coerce types. Offsets count characters (Unicode code points) of
the document's stored text, `end` exclusive: `document.text[start:end] == quote`.
"""

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, StringConstraints, model_validator

from core.errors import ErrorInfo

MAX_QUESTION_CHARS = 4_000
MAX_TOP_K = 100
DEFAULT_TOP_K = 5
MAX_DOCUMENTS_PER_REQUEST = 256
MAX_PAGE_SIZE = 1_000
MAX_ID_CHARS = 512
MAX_TITLE_CHARS = 1_000
MAX_METADATA_KEYS = 64
DEFAULT_COLLECTION = "default"

Mode = Literal["dense", "lexical", "hybrid"]
Scalar = StrictBool | StrictInt | StrictFloat | Annotated[StrictStr, StringConstraints(max_length=4_000)]

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARS, pattern=r"^[^\x00-\x1f\x7f]+$")]
CollectionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
MetadataKey = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f\"]{1,128}$")]
Question = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUESTION_CHARS)]
TopK = Annotated[int, Field(strict=True, ge=1, le=MAX_TOP_K)]


class Frozen(BaseModel):
    """Base of every wire type: immutable, unknown fields refused, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# -- documents -------------------------------------------------------------------------------------------------------------------


class Document(Frozen):
    """A text to be indexed, as its loader or its sender gives it.

    `page_starts` holds the offset at which each page begins, for formats that have pages.
    """

    id: Identifier
    title: Annotated[str, StringConstraints(max_length=MAX_TITLE_CHARS)] = ""
    text: str
    metadata: Annotated[dict[MetadataKey, Scalar], Field(max_length=MAX_METADATA_KEYS)] = {}
    page_starts: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _text_is_unicode(self) -> Self:
        try:
            (self.title + self.text).encode()
        except UnicodeEncodeError as error:
            raise ValueError("text or title holds a lone surrogate, which is no Unicode character") from error
        if not self.text.strip():
            raise ValueError("text is empty")
        return self

    def hash_content(self) -> str:
        """SHA-256 over all that is stored of the document; equal hashes mean nothing to do."""
        content = json.dumps([self.title, self.text, self.metadata, self.page_starts], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()


class StoredDocument(Document):
    """A document as the store returns it."""

    collection: str
    content_hash: str
    chunks: int
    added_at: str


class DocumentSummary(Frozen):
    """A row of the document list: everything but the text."""

    id: str
    collection: str
    title: str
    metadata: dict[str, Scalar]
    chars: int
    chunks: int
    content_hash: str
    added_at: str


class DocumentPage(Frozen):
    """One page of the document list; `next` is the cursor of the following one."""

    documents: tuple[DocumentSummary, ...]
    next: str | None = None


class Chunk(Frozen):
    """A span of a document that is embedded and indexed as one: `document.text[start:end] == text`."""

    ordinal: int
    start: int
    end: int
    text: str
    page: int | None = None


class SplitDocument(Frozen):
    """A document with its chunks, cut for the window of the encoder named by `encoder`."""

    collection: CollectionName = DEFAULT_COLLECTION
    document: Document
    chunks: tuple[Chunk, ...]
    encoder: str


class AddRequest(Frozen):
    """Body of `POST /v1/documents`. Each document is looked at on its own: a bad one fails alone."""

    documents: Annotated[list[object], Field(min_length=1, max_length=MAX_DOCUMENTS_PER_REQUEST)]
    collection: CollectionName = DEFAULT_COLLECTION


DocumentState = Literal["created", "updated", "unchanged", "failed"]


class DocumentResult(Frozen):
    """What became of one document of a batch."""

    id: str
    state: DocumentState
    chunks: int = 0
    error: ErrorInfo | None = None


class AddResponse(Frozen):
    """One result a document, in the order of the request."""

    documents: tuple[DocumentResult, ...]


class DocumentRef(Frozen):
    """Names one document."""

    id: Identifier
    collection: CollectionName = DEFAULT_COLLECTION


class DeleteResponse(Frozen):
    """Receipt of a deletion."""

    id: str
    collection: str
    deleted: bool = True
    chunks: int


class ListRequest(Frozen):
    """Which page of the document list."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE)] = 100
    cursor: str | None = None
    collection: CollectionName | None = None


# -- retrieval -------------------------------------------------------------------------------------------------------------------


class Range(Frozen):
    """A bound on a metadata value; numbers compare as numbers, strings by code point."""

    gt: Scalar | None = None
    gte: Scalar | None = None
    lt: Scalar | None = None
    lte: Scalar | None = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.gt is None and self.gte is None and self.lt is None and self.lte is None:
            raise ValueError("a range needs at least one of gt, gte, lt, lte")
        return self


Filter = Scalar | Annotated[list[Scalar], Field(min_length=1, max_length=1_000)] | Range
Filters = Annotated[dict[MetadataKey, Filter], Field(max_length=16)]


class RetrievalOptions(Frozen):
    """What search and answer have in common."""

    top_k: TopK = DEFAULT_TOP_K
    mode: Mode = "hybrid"
    filters: Filters = {}
    collections: Annotated[list[CollectionName], Field(min_length=1, max_length=64)] = [DEFAULT_COLLECTION]


class SearchRequest(RetrievalOptions):
    """Body of `POST /v1/search`."""

    query: Question


class ChannelScores(Frozen):
    """What each channel says of a passage: cosine in [-1, 1] and BM25 (0 where no word of the query occurs); None where it didn't run."""

    dense: float | None = None
    lexical: float | None = None


class Passage(Frozen):
    """A found chunk. `score` orders the list: cosine (dense), BM25 (lexical) or the fused score (hybrid)."""

    document_id: str
    chunk_id: str
    collection: str
    title: str
    start: int
    end: int
    text: str
    page: int | None = None
    metadata: dict[str, Scalar] = {}
    score: float
    scores: ChannelScores


class SearchResponse(Frozen):
    """Passages, best first. `degraded` is true where a channel could not be asked; `notes` says which."""

    passages: tuple[Passage, ...]
    degraded: bool = False
    notes: tuple[str, ...] = ()
    index_version: int = 0
    timings_ms: dict[str, float] = {}


# -- embedding -------------------------------------------------------------------------------------------------------------------


class EncoderSummary(Frozen):
    """What the running encoder is. `fingerprint` changes with whatever changes its vectors.

    `max_tokens` is what a text may have, special tokens counted and the model's prompt taken off.
    """

    fingerprint: str
    model: str
    dim: int
    max_tokens: int
    pooling: str
    weights_sha256: str
    device: str
    dtype: str


class EncoderInfo(EncoderSummary):
    """The encoder with its tokenizer, as the JSON that the `tokenizers` library reads."""

    tokenizer_json: str = ""

    def summary(self) -> EncoderSummary:
        """This without the tokenizer, which is half a megabyte."""
        return EncoderSummary.model_validate(self.model_dump(exclude={"tokenizer_json"}))


class EmbedItem(Frozen):
    """One text to embed; `kind` chooses the prompt of models that tell questions from documents."""

    text: str
    kind: Literal["query", "document"] = "document"


class EmbedResult(Frozen):
    """A unit vector as `core.vectors.pack` writes it, and what it cost.

    `fingerprint` names the encoder it comes from.
    `windows` is above 1 where the text was longer than the model's window: its windows are embedded apart and averaged by their token counts.
    """

    vector: str
    tokens: int
    windows: int = 1
    fingerprint: str


# -- generation ------------------------------------------------------------------------------------------------------------------


class Span(Frozen):
    """Characters of a stored document: `document.text[start:end] == quote`."""

    document_id: str
    chunk_id: str
    collection: str
    start: int
    end: int
    quote: str


class Sentence(Frozen):
    """A generated or picked sentence, the spans it rests on, and how well it answers the question (0 to 1, where the backend can tell)."""

    text: str
    supports: tuple[Span, ...] = ()
    score: float = 0.0


class Source(Frozen):
    """What a generator may use: a passage (then `span` is where it stands), or a sentence of a summary with the spans it rests on."""

    text: str
    title: str = ""
    span: Span | None = None
    supports: tuple[Span, ...] = ()
    score: float = 0.0


class GenerationItem(Frozen):
    """One unit of work for `summarize` (a single passage) or `compose` (the sentences of all summaries)."""

    question: str
    sources: tuple[Source, ...]
    max_sentences: int
    request_id: str = ""


class BatchStats(Frozen):
    """In what company an item was worked on."""

    items: int
    compute_ms: float


class GenerationResult(Frozen):
    """Sentences in reading order, or the error of this item alone. No sentences: the sources say nothing about the question."""

    sentences: tuple[Sentence, ...] = ()
    error: ErrorInfo | None = None
    batch: BatchStats | None = None

    @property
    def text(self) -> str:
        """The sentences as one text."""
        return " ".join(sentence.text for sentence in self.sentences)


class GeneratorInfo(Frozen):
    """What the running generator is."""

    backend: str
    model: str
    device: str


# -- answers ---------------------------------------------------------------------------------------------------------------------


class AnswerRequest(RetrievalOptions):
    """Body of `POST /v1/answer`."""

    question: Question
    debug: StrictBool = False
    stream: Literal[False] = False


class Summary(Frozen):
    """The query-focused summary of one passage; `error` says why there is none."""

    document_id: str
    chunk_id: str
    text: str
    error: ErrorInfo | None = None


class Citation(Frozen):
    """Where a sentence of the answer comes from. `sentence` counts the answer's sentences from 0.

    `verified` is true when the quote stands at these offsets of the retrieved passage and the sentence says nothing the quote doesn't hold.
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
    verified: bool


class AnswerDebug(Frozen):
    """What went into an answer, for `debug: true`."""

    index_version: int
    retrieval_ms: dict[str, float]
    summary_batches: tuple[BatchStats | None, ...]


class Answer(Frozen):
    """A cited answer. `confidence` is the best passage's cosine with the question, cut to [0, 1]; None where nothing was embedded."""

    id: str
    question: str
    answer: str
    abstained: bool
    confidence: float | None
    degraded: bool
    notes: tuple[str, ...] = ()
    citations: tuple[Citation, ...]
    passages: tuple[Passage, ...]
    summaries: tuple[Summary, ...]
    timings_ms: dict[str, float]
    debug: AnswerDebug | None = None


# -- state of the services -------------------------------------------------------------------------------------------------------


class StoreStatus(Frozen):
    """What the store holds and whether it can answer. `problem` is the reason where it can't."""

    documents: int
    chunks: int
    collections: dict[str, int]
    index_version: int
    encoder: EncoderSummary | None = None
    problem: ErrorInfo | None = None


class ServiceStatus(Frozen):
    """Body of `GET /v1/status`."""

    version: str
    ready: bool
    store: StoreStatus | None
    generator: GeneratorInfo | None
    problems: tuple[ErrorInfo, ...] = ()
