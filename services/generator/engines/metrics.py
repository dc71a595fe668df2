"""What engines compute, as metrics."""

from core.telemetry import (
    BATCH_ITEMS,
    BATCH_PADDING,
    BATCH_SECONDS,
    BATCH_TOKENS,
    MODEL_FIRST_TOKEN_SECONDS,
    RUNNING_SEQUENCES,
    STEP_SECONDS,
    WRITTEN_TOKENS,
)
from services.generator.engines.engine import Read

_READING = {"service": "generator", "operation": "read"}
_SERVICE = {"service": "generator"}


class EngineMetrics:
    """An Observer that fills the histograms of `core.telemetry`; the passes over prompts are batches of the operation `read`."""

    def read(self, read: Read, seconds: float) -> None:
        """See Observer."""
        BATCH_ITEMS.labels(**_READING).observe(read.rows)
        BATCH_TOKENS.labels(**_READING).observe(read.tokens)
        BATCH_PADDING.labels(**_READING).observe(read.padding)
        BATCH_SECONDS.labels(**_READING).observe(seconds)

    def stepped(self, rows: int, seconds: float) -> None:
        """See Observer."""
        RUNNING_SEQUENCES.labels(**_SERVICE).observe(rows)
        STEP_SECONDS.labels(**_SERVICE).observe(seconds)

    def ended(self, new_tokens: int) -> None:
        """See Observer."""
        WRITTEN_TOKENS.labels(**_SERVICE).inc(new_tokens)

    def first_token(self, seconds: float) -> None:
        """See Observer."""
        MODEL_FIRST_TOKEN_SECONDS.labels(**_SERVICE).observe(seconds)
