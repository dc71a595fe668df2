"""Sends documents in batches, several at once, and reports in the order of the input."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from clients.http_client import MAX_SYNC_DOCUMENTS
from clients.ingesting.outcomes import Outcome
from core.schemas import Document, DocumentResult

Item = Document | Outcome
Send = Callable[[Sequence[Document]], Sequence[DocumentResult]]
Report = Callable[[Outcome], None]

IN_FLIGHT = 3
"""Batches that are sent at once: the Embedder finds the next one there when it is done with the last."""
MAX_WAITING = 6
"""Batches that are held in memory: in flight, or answered and waiting for an earlier one to be reported."""
MAX_BATCH_CHARS = 100_000
"""Characters of a batch of several documents: some hundred chunks, about what the Retriever has embedded in one call.

The gateway splits a batch before any of it is embedded: larger ones leave the Embedder idle at the start of a run, while 500 chunks are split.
"""
_MAX_ITEMS = 1_000
# Where nothing is in flight, waiting for a full batch would leave the Embedder idle; this much is worth a request.
_WORTH_SENDING_DOCUMENTS = 8
_WORTH_SENDING_CHARS = 20_000


def send_all(items: Iterable[Item], send: Send, report: Report, give_up: Callable[[], None]) -> None:
    """Send the documents among `items` and report an outcome for every item, in order.

    Raises what `send` raises. Before that, and before Ctrl-C gets through, `give_up` is called, what is in flight is waited for, and
    what was stored of it is reported.
    """
    flights: deque[Future[list[Outcome]]] = deque()
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="send") as pool:
        try:
            for batch in _batches(items, lambda: all(flight.done() for flight in flights)):
                flights.append(pool.submit(_send, batch, send))
                _land(flights, report, leave=MAX_WAITING - 1)
            _land(flights, report, leave=0)
        except BaseException:
            give_up()
            pool.shutdown(cancel_futures=True)
            _report_survivors(flights, report)
            raise


def _land(flights: deque[Future[list[Outcome]]], report: Report, leave: int) -> None:
    """Report the first flights: those that are done, and as many more as it takes to leave at most `leave`."""
    while flights and (len(flights) > leave or flights[0].done()):
        flights[0].result()
        for outcome in flights.popleft().result():
            report(outcome)


def _report_survivors(flights: Iterable[Future[list[Outcome]]], report: Report) -> None:
    for flight in flights:
        if not flight.cancelled() and flight.exception() is None:
            for outcome in flight.result():
                report(outcome)


def _send(batch: Sequence[Item], send: Send) -> list[Outcome]:
    documents = [item for item in batch if isinstance(item, Document)]
    results = iter(send(documents) if documents else ())
    return [Outcome.of(next(results)) if isinstance(item, Document) else item for item in batch]


class _Batch:
    def __init__(self) -> None:
        self.items: list[Item] = []
        self.documents = 0
        self.chars = 0

    def has_room_for(self, item: Item) -> bool:
        if len(self.items) >= _MAX_ITEMS:
            return False
        if not isinstance(item, Document) or not self.documents:
            return True
        return self.documents < MAX_SYNC_DOCUMENTS and self.chars + len(item.text) <= MAX_BATCH_CHARS

    def add(self, item: Item) -> None:
        self.items.append(item)
        if isinstance(item, Document):
            self.documents += 1
            self.chars += len(item.text)

    @property
    def is_worth_sending(self) -> bool:
        return self.documents >= _WORTH_SENDING_DOCUMENTS or self.chars >= _WORTH_SENDING_CHARS


def _batches(items: Iterable[Item], is_idle: Callable[[], bool]) -> Iterator[list[Item]]:
    batch = _Batch()
    for item in items:
        if batch.items and (not batch.has_room_for(item) or (batch.is_worth_sending and is_idle())):
            yield batch.items
            batch = _Batch()
        batch.add(item)
    if batch.items:
        yield batch.items
