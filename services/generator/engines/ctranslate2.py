"""The CTranslate2 engine: an encoder-decoder in eight bits on the CPU, converted once from a transformers folder."""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ctranslate2
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from core.errors import EkibenError, GenerationFailed, ModelUnavailable, NotReady
from services.generator.engines.converting import converted
from services.generator.engines.encoder_decoder import EncoderDecoderEngine, require_positions, summarizing
from services.generator.engines.engine import Observer, Read
from services.generator.engines.loading import info, stop_tokens
from services.generator.engines.requests import Request
from services.packing import pack_by_tokens

log = logging.getLogger("ekiben.generator")


class Ctranslate2Engine(EncoderDecoderEngine):
    """See the module. `cache` is where the converted model is kept; `threads` 0 leaves their number to CTranslate2.

    A batch runs to the end of its longest text: what comes meanwhile waits, and is the next batch. Closing a stream still stops its row at once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        cache: Path,
        max_new_tokens: int,
        max_batch_tokens: int,
        max_running: int,
        observer: Observer,
        quantization: str = "int8",
        threads: int = 0,
    ) -> None:
        config, tokenizer = AutoConfig.from_pretrained(str(folder)), AutoTokenizer.from_pretrained(str(folder))
        require_positions(config, name, max_new_tokens)
        own = summarizing(GenerationConfig.from_pretrained(str(folder)), config)
        options = _options(own, folder, tokenizer)
        translator = _translator(converted(folder, cache, quantization), threads)
        batches = Batches(translator, tokenizer, stop_tokens(own, tokenizer), options, max_batch_tokens, max_running, observer)
        about = info("ctranslate2", folder, name=name, device="cpu", dtype=quantization)
        super().__init__(batches, config, tokenizer, info=about, max_new_tokens=max_new_tokens, observer=observer)


def _translator(folder: Path, threads: int) -> Any:
    try:
        return ctranslate2.Translator(str(folder), device="cpu", intra_threads=threads)
    except (RuntimeError, ValueError) as error:
        raise ModelUnavailable(f"CTranslate2 can't load {folder} ({error}): delete it, or use generator.backend seq2seq") from error


def _options(own: GenerationConfig, folder: Path, tokenizer: Any) -> dict[str, Any]:
    """The model's generation settings in CTranslate2's terms. Raises ModelUnavailable for those it does not have."""
    for key in ("begin_suppress_tokens", "forced_bos_token_id"):
        if getattr(own, key) is not None:
            raise ModelUnavailable(f"CTranslate2 has no {key}, which {folder} sets: use generator.backend seq2seq")
    banned = [[token] for token in own.suppress_tokens or []] + (own.bad_words_ids or [])
    return {
        "repetition_penalty": own.repetition_penalty or 1.0,
        "no_repeat_ngram_size": own.no_repeat_ngram_size or 0,
        # transformers counts the start token.
        "min_decoding_length": max(1, (own.min_length or 0) - 1, own.min_new_tokens or 0),
        "suppress_sequences": [tokenizer.convert_ids_to_tokens(tokens) for tokens in banned] or None,
    }


class Batches:
    """Runs requests in batches, one after the other, in a thread; what `Scheduler` does with a model that takes in no rows while it writes."""

    def __init__(
        self,
        translator: Any,
        tokenizer: Any,
        stop_tokens: frozenset[int],
        options: dict[str, Any],
        max_batch_tokens: int,
        max_rows: int,
        observer: Observer,
    ) -> None:
        self._translator = translator
        self._tokenizer = tokenizer
        self._stop_tokens = stop_tokens
        self._options = options
        self._max_batch_tokens = max_batch_tokens
        self._max_rows = max_rows
        self._observer = observer
        self._waiting: deque[Request] = deque()
        self._news = threading.Condition()
        # Not a plain attribute: CTranslate2's thread is the last to let go of the callback, and would then free, and wait for, itself.
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ctranslate2", daemon=True)
        self._thread.start()

    def submit(self, requests: Iterable[Request]) -> None:
        """As Scheduler."""
        with self._news:
            if self._closed.is_set():
                raise NotReady("the model is shutting down")
            self._waiting.extend(requests)
            self._news.notify()

    def cancel(self, requests: Iterable[Request]) -> None:
        """As Scheduler."""
        for request in requests:
            request.cancelled = request.cancelled or not request.ended

    def close(self, timeout_s: float = 30.0) -> None:
        """As Scheduler."""
        with self._news:
            self._closed.set()
            self._news.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while taken := self._take():
                for group in pack_by_tokens([len(request.prompt) for request in taken], self._max_batch_tokens):
                    self._translate([taken[index] for index in group])
        finally:
            with self._news:
                self._closed.set()
                left = list(self._waiting)
            for request in left:
                self._end(request, NotReady("the model is shutting down"))

    def _take(self) -> list[Request]:
        with self._news:
            self._news.wait_for(lambda: self._closed.is_set() or self._waiting)
            return [] if self._closed.is_set() else [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_rows))]

    def _translate(self, requests: list[Request]) -> None:
        """Write for `requests` together; where that fails, for each half, down to the one that is to blame."""
        source = [self._tokenizer.convert_ids_to_tokens(list(request.prompt)) for request in requests]
        batch = _Batch(requests, self._stop_tokens, self._observer, self._closed)
        try:
            self._translator.translate_batch(
                source, beam_size=1, max_input_length=0, max_decoding_length=batch.longest, callback=batch.wrote, **self._options
            )
        except (RuntimeError, MemoryError) as error:
            log.error("the model failed", exc_info=error, extra={"rows": len(requests)})
            if len(requests) == 1:
                self._end(requests[0], GenerationFailed(f"the model failed on this prompt ({type(error).__name__})"))
            else:
                middle = len(requests) // 2
                self._translate(requests[:middle])
                self._translate(requests[middle:])
            return
        batch.stepped()
        for request in requests:
            cut_off = self._closed.is_set() and not request.ended
            request.finish = request.finish or "stop"
            self._end(request, NotReady("the model is shutting down") if cut_off else None)

    def _end(self, request: Request, error: EkibenError | None) -> None:
        request.error = error
        self._observer.ended(len(request.written))
        request.on_end(request)


class _Batch:
    """What one call of the translator has written so far."""

    def __init__(self, requests: Sequence[Request], stop_tokens: frozenset[int], observer: Observer, closed: threading.Event) -> None:
        lengths = [len(request.prompt) for request in requests]
        self.longest = max(request.max_new_tokens for request in requests)
        self._read = Read(len(requests), sum(lengths), len(requests) * max(lengths))
        self._requests = requests
        self._stop_tokens = stop_tokens
        self._observer = observer
        self._closed = closed
        self._rows = 0
        self._step = -1
        self._since = time.perf_counter()

    def wrote(self, result: Any) -> bool:
        """Take in a `ctranslate2.GenerationStepResult`; whether its row is to stop."""
        if result.step > self._step:
            self.stepped()
            self._step = result.step
        self._rows += 1
        request = self._requests[result.batch_id]
        if request.cancelled or request.ended or self._closed.is_set():
            return True
        # A batch that failed begins again: what its readers have is not told twice.
        if result.step >= len(request.written):
            self._take(request, result.token_id)
        return bool(request.ended)

    def _take(self, request: Request, token: int) -> None:
        request.read = request.read or self._read
        request.written.append(token)
        if token in self._stop_tokens:
            request.finish = "stop"
        elif len(request.written) >= request.max_new_tokens:
            request.finish = "length"
        if request.on_token:
            request.on_token(token)

    def stepped(self) -> None:
        """Tell the observer of the step that is over; the first one is the reading."""
        now = time.perf_counter()
        if self._step == 0:
            self._observer.read(self._read, now - self._since)
        elif self._step > 0:
            self._observer.stepped(self._rows, now - self._since)
        self._since, self._rows = now, 0
