"""Vectors of the latest questions: the same one is asked again, and each is embedded for the search and then for the answer."""

from cachetools import LRUCache

from core.schemas import BatchStats, EmbedItem, EmbedResult
from core.telemetry import QUERY_VECTORS

# One is in the cache already: it had no company and took no time.
_REMEMBERED = BatchStats(items=1, compute_ms=0.0)


class QueryCache:
    """The results of at most `size` questions, by encoder and text. Documents are not remembered."""

    def __init__(self, size: int) -> None:
        self._known: LRUCache[tuple[str, str], EmbedResult] = LRUCache(size)

    def get(self, fingerprint: str, item: EmbedItem) -> EmbedResult | None:
        """The result for `item` by the encoder `fingerprint`, where it is a question that is known."""
        if item.kind != "query":
            return None
        found = self._known.get((fingerprint, item.text))
        QUERY_VECTORS.labels(origin="embedded" if found is None else "remembered").inc()
        return found

    def put(self, item: EmbedItem, result: EmbedResult) -> None:
        """Remember `result` where `item` is a question."""
        if item.kind == "query" and self._known.maxsize:
            self._known[result.fingerprint, item.text] = result.model_copy(update={"batch": _REMEMBERED})
