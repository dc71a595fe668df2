"""What became of an item in a batch."""

from core.schemas.fields import Frozen


class BatchStats(Frozen):
    """In what company an item was computed: the items of its batch, the milliseconds that it waited for the batch, and those the batch took."""

    items: int
    queue_ms: float = 0.0
    compute_ms: float
