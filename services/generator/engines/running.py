"""What the engines over a runner have in common: prompts in, texts or streams of text out, on any event loop."""

import asyncio
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any

from core.errors import EkibenError, InvalidRequest
from core.schemas import GeneratorInfo
from services.generator.engines.detokenizing import Detokenizer, text_of
from services.generator.engines.engine import Observer, Prompt, Written
from services.generator.engines.requests import Request, Runner


class ScheduledEngine(ABC):
    """A TextEngine whose prompts share the runner's batches. `max_new_tokens` is the most that a prompt may ask for."""

    default_prompts = "chat.1"
    prefix = ""

    def __init__(self, runner: Runner, tokenizer: Any, *, info: GeneratorInfo, max_new_tokens: int, observer: Observer) -> None:
        self.info = info
        self._runner = runner
        self._tokenizer = tokenizer
        self._max_new_tokens = max_new_tokens
        self._observer = observer
        # The thread knows the runner and not the engine, so it ends with the engine, and at the end of the process.
        self.close: Callable[[], None] = weakref.finalize(self, runner.close)

    @property
    @abstractmethod
    def max_prompt_tokens(self) -> int:
        """Tokens that a prompt may have."""

    @abstractmethod
    def _encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The tokens of each prompt as the model reads it."""

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of the prompt as the model reads it."""
        return len(self._encode([prompt])[0])

    async def is_ready(self, timeout_s: float) -> bool:
        """See TextEngine."""
        return True

    async def write(self, prompts: Sequence[Prompt]) -> list[Written | EkibenError]:
        """See TextEngine. Cancelling the call drops its prompts within a step."""
        loop = asyncio.get_running_loop()
        encoded = await asyncio.to_thread(self._encode, prompts) if prompts else []
        requests: dict[int, Request] = {}
        ends: list[asyncio.Future[None]] = []
        results: list[Written | EkibenError | None] = [self._refusal(prompt, len(ids)) for prompt, ids in zip(prompts, encoded, strict=True)]
        for index, (prompt, ids) in enumerate(zip(prompts, encoded, strict=True)):
            if results[index] is None:
                ends.append(loop.create_future())
                requests[index] = Request(tuple(ids), prompt.max_new_tokens, on_end=_told(loop, _resolve, ends[-1]))
        self._runner.submit(requests.values())
        try:
            for end in ends:
                await end
        finally:
            self._runner.cancel(requests.values())
        for index, request in requests.items():
            results[index] = request.error or self._written(request, text_of(self._tokenizer, request.written))
        return [result for result in results if result is not None]

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Written, None]:
        """See TextEngine. Raises what is wrong with the prompt."""
        started = time.perf_counter()
        (ids,) = await asyncio.to_thread(self._encode, [prompt])
        if refusal := self._refusal(prompt, len(ids)):
            raise refusal
        loop = asyncio.get_running_loop()
        news: asyncio.Queue[int | None] = asyncio.Queue()
        put = _told(loop, news.put_nowait)
        request = Request(tuple(ids), prompt.max_new_tokens, on_token=put, on_end=lambda _: put(None))
        self._runner.submit([request])
        detokenizer = Detokenizer(self._tokenizer)
        pieces: list[str] = []
        try:
            while (token := await news.get()) is not None:
                if not pieces:
                    self._observer.first_token(time.perf_counter() - started)
                pieces.append(detokenizer.push(token))
                if pieces[-1]:
                    yield pieces[-1]
        finally:
            self._runner.cancel([request])
        if request.error:
            raise request.error
        pieces.append(detokenizer.rest())
        if pieces[-1]:
            yield pieces[-1]
        yield self._written(request, "".join(pieces))

    def _refusal(self, prompt: Prompt, tokens: int) -> EkibenError | None:
        if tokens > self.max_prompt_tokens:
            return InvalidRequest(f"the prompt has {tokens} tokens, the model takes {self.max_prompt_tokens}: lower ingestion.chunk_tokens or top_k")
        if not 0 < prompt.max_new_tokens <= self._max_new_tokens:
            return InvalidRequest(f"max_new_tokens is {prompt.max_new_tokens}, generator.max_new_tokens allows 1 to {self._max_new_tokens}")
        return None

    @staticmethod
    def _written(request: Request, text: str) -> Written:
        return Written(text, request.finish or "stop", len(request.prompt), len(request.written), request.read)


def _told(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *first: Any) -> Callable[[Any], None]:
    """`function` for calls from the model's thread; what nobody waits for any more is dropped."""

    def tell(last: Any) -> None:
        try:
            loop.call_soon_threadsafe(partial(function, *first, last))
        except RuntimeError:
            if not loop.is_closed():
                raise

    return tell


def _resolve(end: "asyncio.Future[None]", _: Request) -> None:
    if not end.done():
        end.set_result(None)
