"""Work for the generator, and its results."""

from typing import Annotated, Literal

from pydantic import Field

from core.errors import ErrorInfo
from core.schemas.batches import BatchStats, WritingStats
from core.schemas.fields import Frozen, Setting


class Span(Frozen):
    """Characters of a stored document: `document.text[start:end] == quote`. Where the quote refers back to what is said before it ("It was ..."), its
    context begins at `context_start`.
    """

    document_id: str
    chunk_id: str
    collection: str
    start: int
    end: int
    quote: str
    context_start: int | None = None


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
    """One unit of work for `summarize` (a single passage) or `compose` (the sentences of all summaries).

    `rarity` is that of the question's words and `encoder` the fingerprint of what embedded it, as SearchResponse has them.
    """

    question: str
    sources: tuple[Source, ...]
    max_sentences: int
    rarity: dict[str, float] = {}
    encoder: str | None = None
    request_id: str = ""


class GeneratorInfo(Frozen):
    """What the running generator is. `encoder` is the fingerprint of the encoder that a backend compares sentences with, None before the first.

    `settings` are those that shape what it writes, by their full names.
    """

    backend: str
    model: str
    device: str
    dtype: str = ""
    weights_sha256: str = ""
    encoder: str | None = None
    settings: dict[str, Setting] = {}


class GenerationResult(Frozen):
    """Sentences in reading order, or the error of this item alone. No sentences: the sources say nothing about the question.

    `generator` is what made them; `writing` is None where no language model was asked.
    """

    sentences: tuple[Sentence, ...] = ()
    error: ErrorInfo | None = None
    batch: BatchStats | None = None
    writing: WritingStats | None = None
    generator: GeneratorInfo | None = None

    @property
    def text(self) -> str:
        """The sentences as one text."""
        return " ".join(sentence.text for sentence in self.sentences)


class GenerationText(Frozen):
    """More of the text that is being written."""

    event: Literal["text"] = "text"
    text: str


class GenerationSentence(Frozen):
    """A sentence is complete, and what it rests on is known."""

    event: Literal["sentence"] = "sentence"
    sentence: Sentence


class GenerationDone(Frozen):
    """All that was written, as the unary call returns it; the last event."""

    event: Literal["result"] = "result"
    result: GenerationResult


GenerationEvent = Annotated[GenerationText | GenerationSentence | GenerationDone, Field(discriminator="event")]
