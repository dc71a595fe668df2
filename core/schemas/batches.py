"""What became of an item in a batch."""

from core.schemas.fields import Frozen


class BatchStats(Frozen):
    """In what company an item was computed: the items of its batch, the milliseconds that it waited for the batch, and those the batch took."""

    items: int
    queue_ms: float = 0.0
    compute_ms: float


class TokenUsage(Frozen):
    """Tokens that a language model read in prompts and wrote, as it counts them itself."""

    prompt_tokens: int
    new_tokens: int


class WritingStats(TokenUsage):
    """What a language model did for an item, in how many prompts.

    `rows` and `tokens` are those of the forward pass in which the last prompt was read, `padding` is the share of padding in it, 0 to 1; None where
    the engine can't tell.
    """

    prompts: int
    rows: int | None = None
    tokens: int | None = None
    padding: float | None = None
