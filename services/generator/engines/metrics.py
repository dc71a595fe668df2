"""What engines compute, as metrics."""

import time

from core.telemetry import (
    BATCH_ITEMS,
    BATCH_PADDING,
    BATCH_SECONDS,
    BATCH_TOKENS,
    GPU_MEMORY,
    MODEL_FIRST_TOKEN_SECONDS,
    RUNNING_SEQUENCES,
    STEP_SECONDS,
    WRITTEN_TOKENS,
)
from services.generator.engines.engine import Read
from services.generator.engines.memory import gpu_memory

_READING = {"service": "generator", "operation": "read"}
_SERVICE = {"service": "generator"}
_MEMORY_EVERY_S = 1.0


class EngineMetrics:
    """An Observer that fills the metrics of `core.telemetry`; the passes over prompts are batches of the operation `read`.

    The memory of a CUDA `device` is looked at after a pass, at most once a second.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._look_after = 0.0 if device.startswith("cuda") else float("inf")

    def read(self, read: Read, seconds: float) -> None:
        """See Observer."""
        BATCH_ITEMS.labels(**_READING).observe(read.rows)
        BATCH_TOKENS.labels(**_READING).observe(read.tokens)
        BATCH_PADDING.labels(**_READING).observe(read.padding)
        BATCH_SECONDS.labels(**_READING).observe(seconds)
        self._look_at_memory()

    def stepped(self, rows: int, seconds: float) -> None:
        """See Observer."""
        RUNNING_SEQUENCES.labels(**_SERVICE).observe(rows)
        STEP_SECONDS.labels(**_SERVICE).observe(seconds)
        self._look_at_memory()

    def ended(self, new_tokens: int) -> None:
        """See Observer."""
        WRITTEN_TOKENS.labels(**_SERVICE).inc(new_tokens)

    def first_token(self, seconds: float) -> None:
        """See Observer."""
        MODEL_FIRST_TOKEN_SECONDS.labels(**_SERVICE).observe(seconds)

    def _look_at_memory(self) -> None:
        if (now := time.monotonic()) < self._look_after:
            return
        self._look_after = now + _MEMORY_EVERY_S
        for state, size in gpu_memory(self._device).items():
            GPU_MEMORY.labels(**_SERVICE, device=self._device, state=state).set(size)
