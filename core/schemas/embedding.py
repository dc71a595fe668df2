"""Texts to embed, their vectors, and the encoder that makes them."""

from typing import Literal

from core.schemas.batches import BatchStats
from core.schemas.fields import Frozen


class EncoderSummary(Frozen):
    """What the running encoder is. `fingerprint` changes with whatever makes its vectors incomparable, so not with `dtype` from float32 to
    bfloat16 or float16, nor with `engine`, which names what computes them.

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
    engine: str = ""


class EncoderInfo(EncoderSummary):
    """The encoder with its tokenizer, as the JSON that the `tokenizers` library reads."""

    tokenizer_json: str = ""

    def summary(self) -> EncoderSummary:
        """This without the tokenizer, which is half a megabyte."""
        return EncoderSummary.model_validate(self.model_dump(exclude={"tokenizer_json"}))


class EmbedItem(Frozen):
    """One text to embed; `kind` chooses the prompt of models that tell questions from documents.

    `encoder` is the fingerprint of the encoder that is wanted, where the Embedder runs a second one; None, or one it doesn't run, is its first.
    `bulk` lets everything that is not pass first: nobody waits for this text alone.
    """

    text: str
    kind: Literal["query", "document"] = "document"
    encoder: str | None = None
    bulk: bool = False


class EmbedResult(Frozen):
    """A unit vector as `core.vectors.pack` writes it, and what it cost.

    `fingerprint` names the encoder it comes from, `dtype` the numbers it was computed with.
    `windows` is above 1 where the text was longer than the model's window: its windows are embedded apart and averaged by their token counts.
    """

    vector: str
    tokens: int
    windows: int = 1
    fingerprint: str
    dtype: str = ""
    batch: BatchStats | None = None
