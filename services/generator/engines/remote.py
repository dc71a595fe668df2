"""The engine of another server: any that speaks OpenAI's chat completions (vLLM, TGI, llama.cpp, `transformers serve`, OpenAI itself)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import openai
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from core.errors import DependencyUnavailable, EkibenError, InvalidSettings
from core.schemas import GeneratorInfo
from services.generator.engines.engine import Prompt, Written
from services.generator.engines.estimating import estimated_tokens
from services.generator.engines.remote_errors import befalls_all, malformed, translate
from services.generator.engines.remote_options import Options

# A server that asks for more patience than this is not waited for: the caller hears of it.
_PATIENCE_S = 2.0
# What a chat template writes around the parts of a prompt.
_TEMPLATE_TOKENS = 32


class _Content(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    """Of an answer (`message`) or of a piece of one (`delta`)."""

    message: _Content | None = None
    delta: _Content | None = None
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class _Completion(BaseModel):
    """What is read of an answer or of a piece; the package's own classes take anything that a server sends."""

    choices: list[_Choice] = []
    usage: _Usage | None = None


class RemoteEngine:
    """See the module. Each prompt is one request, `concurrency` at once; `timeout_s` bounds it with its retries, in a stream each wait for more.

    `context_tokens` is how many tokens the model takes, written ones included. The server counts for itself; here tokens are estimated, so that
    sources are grouped to fit: prompts are never refused by the estimate alone. The package repeats what failed up to `max_retries` times.
    """

    default_prompts = "chat.1"
    prefix = ""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        context_tokens: int = 4096,
        max_new_tokens: int = 256,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 5.0,
        max_retries: int = 2,
        concurrency: int = 16,
    ) -> None:
        if max_new_tokens >= context_tokens:
            raise InvalidSettings(
                f"generator.max_new_tokens is {max_new_tokens}, but generator.context_tokens is {context_tokens}, for prompt and text together"
            )
        self.info = GeneratorInfo(backend="openai", model=model, device="remote")
        self._context_tokens = context_tokens
        self._max_new_tokens = max_new_tokens
        self._timeout_s = timeout_s
        self._options = Options()
        self._turns = asyncio.Semaphore(concurrency)
        timeout = openai.Timeout(timeout_s, connect=min(connect_timeout_s, timeout_s))
        # Local servers ask for no key, but the package does.
        self._client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            timeout=timeout,
            max_retries=max_retries,
            http_client=openai.DefaultAsyncHttpxClient(timeout=timeout, event_hooks={"response": [_impatiently]}),
        )

    @property
    def max_prompt_tokens(self) -> int:
        """See `TextEngine`."""
        return self._context_tokens - self._max_new_tokens

    def count_tokens(self, prompt: Prompt) -> int:
        """An estimate from above, see `estimated_tokens`."""
        return estimated_tokens(prompt.system) + estimated_tokens(prompt.user) + _TEMPLATE_TOKENS

    async def write(self, prompts: Sequence[Prompt]) -> list[Written | EkibenError]:
        """See `TextEngine`. A server that can't be reached, or refuses key or model, befalls all: the other requests are given up."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._write(prompt)) for prompt in prompts]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Written, None]:
        """See `TextEngine`. Closing it closes the connection, by which the server notices."""
        text, finish, usage = "", "", None
        async with self._turns, self._chunks(prompt) as chunks:
            while (chunk := await self._next(chunks)) is not None:
                usage = chunk.usage or usage
                for choice in chunk.choices[:1]:
                    finish = choice.finish_reason or finish
                    if piece := choice.delta.content if choice.delta else None:
                        text += piece
                        yield piece
        # Some servers end a stream without `[DONE]`: only the reason tells an end from a loss.
        if not finish:
            raise DependencyUnavailable("the language model server broke off in the middle of a text")
        yield self._written(prompt, text, finish, usage)

    async def is_ready(self, timeout_s: float) -> bool:
        """Whether the server answers at all, and takes the key."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._client.with_options(max_retries=0).models.list()
        except openai.APIStatusError as error:
            # A server without this list may write none the less. `transformers serve` fails to make it where there is no cache of the hub.
            return error.status_code in (404, 405, 500)
        except (openai.OpenAIError, TimeoutError, ValueError):
            return False
        return True

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.close()

    async def _write(self, prompt: Prompt) -> Written | EkibenError:
        """What became of one prompt. Raises what befalls all prompts."""
        try:
            async with self._turns:
                return await self._answered(prompt)
        except EkibenError as error:
            if befalls_all(error):
                raise
            return error

    async def _answered(self, prompt: Prompt) -> Written:
        with self._translated():
            async with asyncio.timeout(self._timeout_s):
                completion = _read(await self._create(prompt))
        if not completion.choices:
            raise malformed("no choices")
        choice = completion.choices[0]
        text = choice.message.content or "" if choice.message else ""
        return self._written(prompt, text, choice.finish_reason or "", completion.usage)

    @asynccontextmanager
    async def _chunks(self, prompt: Prompt) -> AsyncIterator[AsyncIterator[object]]:
        with self._translated():
            async with asyncio.timeout(self._timeout_s):
                stream = await self._create(prompt, stream=True, stream_options={"include_usage": True})
        try:
            yield stream
        finally:
            await stream.close()

    async def _create(self, prompt: Prompt, **how: Any) -> Any:
        """What the server answers, asked again without an option that it refuses."""
        while True:
            options = self._options.of(prompt.max_new_tokens)
            try:
                return await self._client.chat.completions.create(model=self.info.model, messages=_messages(prompt), **options, **how)
            except openai.APIStatusError as error:
                if not self._options.learn(error, options):
                    raise

    async def _next(self, chunks: AsyncIterator[object]) -> _Completion | None:
        """The next piece, None at the end."""
        with self._translated():
            async with asyncio.timeout(self._timeout_s):
                chunk = await anext(chunks, None)
            return None if chunk is None else _read(chunk)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (openai.OpenAIError, TimeoutError, ValueError) as error:
            raise translate(error, self._timeout_s) from error

    def _written(self, prompt: Prompt, text: str, finish: str, usage: _Usage | None) -> Written:
        read, new = (usage.prompt_tokens, usage.completion_tokens) if usage else (self.count_tokens(prompt), estimated_tokens(text))
        return Written(text, "length" if finish == "length" else "stop", read, new)


def _messages(prompt: Prompt) -> list[ChatCompletionMessageParam]:
    user: ChatCompletionMessageParam = {"role": "user", "content": prompt.user}
    return [{"role": "system", "content": prompt.system}, user] if prompt.system else [user]


def _read(answer: object) -> _Completion:
    """What the package made of a server's answer. Raises ValueError where it is none."""
    if not isinstance(answer, BaseModel):
        raise ValueError(type(answer).__name__)
    return _Completion.model_validate(answer.model_dump(warnings=False))


async def _impatiently(response: Any) -> None:
    """Keeps the package from waiting out a server's Retry-After that is long, or a date."""
    wait = response.headers.get("retry-after")
    if wait and not (wait.isdigit() and int(wait) <= _PATIENCE_S):
        response.headers["x-should-retry"] = "false"
