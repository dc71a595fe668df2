"""Iteration-level scheduling: requests join and leave a running batch between two steps of the model (Yu et al., "Orca", OSDI 2022).

One thread owns the model. A step of the loop lets waiting requests in, first come first served, reads one group of their prompts, and writes one
token for every running sequence. A failure of the model halves what may run at once and starts the sequences again behind their last token; what
fails alone is refused.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import count

from core.errors import EkibenError, GenerationFailed, NotReady
from services.generator.engines.engine import Observer
from services.generator.engines.memory import is_out_of_memory
from services.generator.engines.requests import Cohort, Decoder, Request
from services.packing import pack_by_tokens

# Where a model can't take new sequences into a running cohort, this many cohorts take turns; more would make each of them small.
MAX_COHORTS = 4

log = logging.getLogger("ekiben.generator")


class Scheduler:
    """See the module. `max_running` bounds the sequences, `kv_tokens` the cache (rows times the longest they may become), `max_batch_tokens` a
    forward pass over prompts (rows times the longest).
    """

    def __init__(self, decoder: Decoder, *, max_running: int, kv_tokens: int, max_batch_tokens: int, observer: Observer, name: str) -> None:
        self._decoder = decoder
        self._max_running = self._limit = max_running
        self._kv_tokens = kv_tokens
        self._max_batch_tokens = max_batch_tokens
        self._observer = observer
        self._inbox: deque[Request] = deque()
        self._waiting: deque[Request] = deque()
        self._groups: deque[list[Request]] = deque()
        self._cohorts: list[Cohort] = []
        self._numbers = count()
        self._news = threading.Condition()
        self._closed = False
        self._dirty = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    # -- any thread --------------------------------------------------------------------------------------------------------------

    def submit(self, requests: Iterable[Request]) -> None:
        """Queue `requests`; each ends with a call of its `on_end`. Raises NotReady after `close`."""
        with self._news:
            if self._closed:
                raise NotReady("the model is shutting down")
            for request in requests:
                request.number = next(self._numbers)
                self._inbox.append(request)
            self._news.notify()

    def cancel(self, requests: Iterable[Request]) -> None:
        """Have `requests` dropped before the next step; those that have ended are passed over."""
        with self._news:
            for request in requests:
                if not request.ended:
                    request.cancelled = self._dirty = True
            self._news.notify()

    def close(self, timeout_s: float = 30.0) -> None:
        """End the thread after its current step; requests that have not ended fail with NotReady."""
        with self._news:
            self._closed = True
            self._news.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    # -- the model's thread ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._await_news():
                self._drop_cancelled()
                self._admit()
                self._read_next_group()
                for cohort in tuple(self._cohorts):
                    self._step(cohort)
        finally:
            self._end_all(NotReady("the model is shutting down"))

    def _await_news(self) -> bool:
        """Wait until there is work; False when the scheduler is closed."""
        with self._news:
            self._news.wait_for(lambda: self._closed or self._inbox or self._dirty or self._waiting or self._groups or self._cohorts)
            self._waiting.extend(self._inbox)
            self._inbox.clear()
            return not self._closed

    def _end_all(self, error: EkibenError) -> None:
        with self._news:
            self._closed = True
            self._waiting.extend(self._inbox)
            self._inbox.clear()
        for request in [*self._live(), *self._waiting]:
            self._end(request, error)
        self._waiting.clear()
        self._groups.clear()
        self._cohorts.clear()

    def _live(self) -> list[Request]:
        """Requests that hold, or are about to hold, a part of the cache."""
        running = [request for cohort in self._cohorts for request in cohort.requests]
        return running + [request for group in self._groups for request in group]

    def _drop_cancelled(self) -> None:
        with self._news:
            dirty, self._dirty = self._dirty, False
        if not dirty:
            return
        self._waiting = deque(self._without_cancelled(self._waiting))
        self._groups = deque(rest for group in self._groups if (rest := self._without_cancelled(group)))
        for cohort in tuple(self._cohorts):
            self._without_cancelled(cohort.requests)
            self._keep(cohort, [row for row, request in enumerate(cohort.requests) if not request.cancelled])

    def _without_cancelled(self, requests: Iterable[Request]) -> list[Request]:
        rest = []
        for request in requests:
            if request.cancelled:
                self._end(request)
            else:
                rest.append(request)
        return rest

    # -- letting in --------------------------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        if self._groups or len(self._cohorts) >= MAX_COHORTS:
            return
        live = self._live()
        admitted: list[Request] = []
        while self._waiting and self._fits(self._waiting[0], [*live, *admitted]):
            admitted.append(self._waiting.popleft())
        by_kind: dict[object, list[Request]] = {}
        for request in admitted:
            by_kind.setdefault(self._decoder.group_of(request), []).append(request)
        for requests in by_kind.values():
            lengths = [len(request.prompt) + len(request.written) for request in requests]
            self._groups.extend([requests[index] for index in group] for group in pack_by_tokens(lengths, self._max_batch_tokens))

    def _fits(self, request: Request, live: Sequence[Request]) -> bool:
        """Whether there is room beside `live`; the first in the queue is never passed by, and one alone always fits."""
        longest = max([request.most_tokens, *(other.most_tokens for other in live)])
        return not live or (len(live) < self._limit and (len(live) + 1) * longest <= self._kv_tokens)

    def _read_next_group(self) -> None:
        if not self._groups or len(self._cohorts) >= MAX_COHORTS:
            return
        group = self._groups.popleft()
        started = time.perf_counter()
        try:
            cohort, tokens, read = self._decoder.read(group)
        except Exception as error:  # noqa: BLE001 - foreign model code, which raises anything
            self._unread(group, error)
            return
        for request in group:
            request.read = request.read or read
        self._observer.read(read, time.perf_counter() - started)
        self._cohorts.append(cohort)
        self._append(cohort, tokens)
        if cohort in self._cohorts:
            self._merge(cohort)

    def _merge(self, cohort: Cohort) -> None:
        for other in self._cohorts:
            if other is cohort:
                continue
            try:
                if other.absorb(cohort):
                    self._cohorts.remove(cohort)
                    return
            except Exception as error:  # noqa: BLE001 - as above; both caches may be half changed
                self._cohorts.remove(cohort)
                self._cohorts.remove(other)
                self._restart([*other.requests, *(request for request in cohort.requests if request not in other.requests)], error)
                return

    # -- writing -----------------------------------------------------------------------------------------------------------------

    def _step(self, cohort: Cohort) -> None:
        started = time.perf_counter()
        try:
            tokens = cohort.step()
        except Exception as error:  # noqa: BLE001 - as above
            self._cohorts.remove(cohort)
            self._restart(cohort.requests, error)
            return
        self._observer.stepped(len(tokens), time.perf_counter() - started)
        self._append(cohort, tokens)

    def _append(self, cohort: Cohort, tokens: Sequence[int]) -> None:
        """Hand each request its next token, and let those that are done go."""
        staying = []
        for row, (request, token) in enumerate(zip(cohort.requests, tokens, strict=True)):
            request.written.append(token)
            if token in self._decoder.stop_tokens:
                request.finish = "stop"
            elif len(request.written) >= request.max_new_tokens:
                request.finish = "length"
            if request.on_token:
                request.on_token(token)
            if request.finish or request.cancelled:
                self._end(request)
            else:
                staying.append(row)
        self._keep(cohort, staying)

    def _keep(self, cohort: Cohort, rows: Sequence[int]) -> None:
        if not rows:
            self._cohorts.remove(cohort)
        elif len(rows) < len(cohort.requests):
            remaining = [cohort.requests[row] for row in rows]
            try:
                cohort.keep(rows)
            except Exception as error:  # noqa: BLE001 - as above
                self._cohorts.remove(cohort)
                self._restart(remaining, error)

    def _end(self, request: Request, error: EkibenError | None = None) -> None:
        request.error = error
        self._limit = min(self._limit + 1, self._max_running)
        self._observer.ended(len(request.written))
        request.on_end(request)

    # -- failures ----------------------------------------------------------------------------------------------------------------

    def _unread(self, group: list[Request], error: Exception) -> None:
        """Reading failed: the halves are tried one after the other, down to the request that is to blame."""
        if len(group) == 1:
            self._restart(group, error)
            return
        self._report(error, len(group))
        middle = len(group) // 2
        self._groups.extendleft([group[middle:], group[:middle]])

    def _restart(self, requests: Sequence[Request], error: Exception) -> None:
        """Queue `requests` again, first, with what they have written, and let half as many run.

        One that fails alone is refused; for want of memory only where nothing runs beside it, and where it came no further since the last time.
        """
        self._report(error, len(requests))
        beside = len(self._live())
        if len(requests) == 1 and not (is_out_of_memory(error) and (beside or _came_further(requests[0]))):
            self._end(requests[0], _refusal(requests[0], error))
            return
        self._limit = max(1, (beside + len(requests)) // 2)
        self._waiting.extendleft(sorted(requests, key=lambda request: -request.number))

    def _report(self, error: Exception, rows: int) -> None:
        if is_out_of_memory(error):
            log.warning("out of memory: half as many sequences from here", extra={"rows": rows})
        else:
            log.error("the model failed", exc_info=error, extra={"rows": rows})
        # The traceback's frames hold tensors of the failed pass.
        error.__traceback__ = None
        self._decoder.forget()


def _came_further(request: Request) -> bool:
    before, request.failed_at = request.failed_at, len(request.written)
    return before != request.failed_at


def _refusal(request: Request, error: Exception) -> EkibenError:
    if is_out_of_memory(error):
        return GenerationFailed(f"there is no memory for a prompt of {len(request.prompt)} tokens, even alone")
    return GenerationFailed(f"the model failed on this prompt ({type(error).__name__})")
