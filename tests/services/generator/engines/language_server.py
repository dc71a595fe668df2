"""A server that speaks OpenAI's chat completions, well or badly as the model's name asks, on a free port of this machine."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

SAID = "It was opened in 1988 [1]. Trains run [2]."
KEY = "sk-right"


@dataclass
class LanguageServer:
    """What was asked of it, how many requests it works on now and at most did; who waits for `begun` or `left` hears of each request that did."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    working: int = 0
    most: int = 0
    begun: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    left: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    failures: int = 0
    pause_s: float = 0.0
    list_status: int = 200

    async def until(self, happened: asyncio.Semaphore, count: int = 1) -> None:
        """Returns when it happened `count` times; fails after five seconds."""
        async with asyncio.timeout(5):
            for _ in range(count):
                await happened.acquire()

    async def models(self, request: web.Request) -> web.Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return _error(401, "who are you?")
        if self.list_status != 200:
            return _error(self.list_status, "no list")
        return web.json_response({"object": "list", "data": [{"id": "good", "object": "model", "created": 1, "owned_by": "us"}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self.working += 1
        self.most = max(self.most, self.working)
        self.begun.release()
        left = False
        try:
            await asyncio.sleep(self.pause_s)
            answered = await self._badly(body["model"]) or _refusal(body)
            return answered or await (self._stream(request, body) if body.get("stream") else self._whole(body))
        except (ConnectionError, asyncio.CancelledError):
            left = True
            raise
        finally:
            self.working -= 1
            if left:
                self.left.release()

    async def _badly(self, model: str) -> web.Response | None:
        """An answer without a text, as the model's name asks."""
        if model == "hang":
            await asyncio.sleep(60)
        if model == "fail-twice":
            self.failures += 1
            return _error(500, "try again") if self.failures <= 2 else None
        if model.isdigit():
            return _error(int(model), "the secret text of a document")
        answers = {
            "busy": lambda: _error(429, "slow down", headers={"Retry-After": "17"}),
            "too-long-openai": lambda: _error(400, "no", code="context_length_exceeded"),
            "too-long-vllm": lambda: _error(400, "This model's maximum context length is 512 tokens. However, you requested 700 tokens"),
            "too-long-tgi": lambda: _error(422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 512"),
            "html": lambda: web.Response(text="<html>hello</html>", content_type="text/html"),
            "no-json": lambda: web.Response(text="{broken", content_type="application/json"),
            "no-choices": lambda: web.json_response({"choices": []}),
            "odd": lambda: web.json_response({"choices": [{"message": 5}]}),
            "array": lambda: web.json_response([1]),
        }
        return answers[model]() if model in answers else None

    async def _whole(self, body: dict[str, Any]) -> web.Response:
        usage = {} if body["model"] == "no-usage" else {"usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}}
        finish = "length" if body.get("max_tokens", body.get("max_completion_tokens")) == 1 else "stop"
        choice = {"index": 0, "message": {"role": "assistant", "content": SAID}, "finish_reason": finish}
        return web.json_response({"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice], **usage})

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        model = body["model"]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if model == "endless":
            while True:
                await response.write(_chunk("more "))
                await asyncio.sleep(0.01)
        for number, piece in enumerate(_pieces(SAID)):
            await response.write(_chunk(piece))
            if number == 2 and model in _IN_THE_MIDDLE:
                await _IN_THE_MIDDLE[model](request, response)
                if model in ("cut", "stall", "lost"):
                    return response
        await response.write(_chunk("", "stop"))
        if model != "no-usage":
            await response.write(_event({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}}))
        if model != "no-done":
            await response.write(b"data: [DONE]\n\n")
        return response


async def _cut(request: web.Request, _: web.StreamResponse) -> None:
    assert request.transport is not None
    request.transport.abort()


async def _stall(_: web.Request, __: web.StreamResponse) -> None:
    await asyncio.sleep(60)


async def _lose(_: web.Request, __: web.StreamResponse) -> None:
    """The stream ends as if all were well."""


async def _garble(_: web.Request, response: web.StreamResponse) -> None:
    await response.write(b'data: {"choices": [{"del\n\n')


async def _mistype(_: web.Request, response: web.StreamResponse) -> None:
    await response.write(b"data: 5\n\n")


async def _fail(_: web.Request, response: web.StreamResponse) -> None:
    await response.write(_event({"error": {"message": "out of memory", "code": 500}}))


async def _overflow(_: web.Request, response: web.StreamResponse) -> None:
    await response.write(_event({"error": {"message": "maximum context length is 5", "code": 400}}))


_IN_THE_MIDDLE = {"cut": _cut, "stall": _stall, "lost": _lose, "garbled": _garble, "mistyped": _mistype, "failing": _fail, "overflowing": _overflow}


# Which options a server refuses, and its words for it.
_REFUSING = {
    "reasoning": ({"max_tokens": "max_tokens", "temperature": "temperature"}, "Unsupported parameter: '{}' is not supported with this model."),
    "terse": ({"max_tokens": None}, "Unsupported parameter: '{}' is not supported with this model. Use 'max_completion_tokens' instead."),
    "boundless": ({"max_tokens": "max_tokens", "max_completion_tokens": "max_completion_tokens"}, "Unknown parameter: '{}'."),
    "small": ({"max_tokens": "max_tokens"}, "{} is too large: 40. This model supports at most 16 completion tokens."),
}


def _refusal(body: dict[str, Any]) -> web.Response | None:
    """A 400 for the first option that the model, by its name, doesn't take."""
    refused, words = _REFUSING.get(body["model"], ({}, ""))
    name = next((name for name in refused if name in body), None)
    return _error(400, words.format(name), param=refused[name]) if name else None


def _pieces(text: str) -> list[str]:
    return [text[start : start + 4] for start in range(0, len(text), 4)]


def _chunk(text: str, finish: str | None = None) -> bytes:
    return _event({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [_delta(text, finish)]})


def _delta(text: str, finish: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": {"content": text}, "finish_reason": finish}


def _event(content: dict[str, Any]) -> bytes:
    return f": comment\n\ndata: {json.dumps(content)}\n\n".encode()


def _error(status: int, message: str, *, code: str | None = None, param: str | None = None, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "an_error", "code": code, "param": param}}, status=status, headers=headers)


@asynccontextmanager
async def serving() -> AsyncIterator[LanguageServer]:
    server = LanguageServer()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_get("/v1/models", server.models)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()
