"""Chat completions: the last question of a conversation, answered from the documents."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.errors import error_from
from core.schemas import Answer, AnswerEvent, AnswerRequest, DoneEvent, ErrorEvent, RetrievedEvent, TokenEvent
from services.gateway.answering import Answering
from services.gateway.openai_api.errors import OPENAI_SHAPE, InvalidParameter, openai_error, parse_asked, require_model
from services.gateway.openai_api.usage import TokenCounter
from services.gateway.openai_api.wire import AnswerMessage, ChatChoice, ChatChunk, ChatCompletion, ChatDelta, ChatRequest, ChunkChoice
from services.gateway.routing import json_response, read_json, route
from services.gateway.streaming import EventStream, sse

CHAT_PATH: Final = "/v1/chat/completions"
_END: Final = "data: [DONE]\n\n"

# What can't be done and would change what the answer means.
_REFUSED: dict[str, Callable[[Any], bool]] = {
    "n": lambda count: count != 1,
    "logprobs": bool,
    "top_logprobs": bool,
    "tools": bool,
    "functions": bool,
    "response_format": lambda wanted: wanted.get("type") != "text",
    "modalities": lambda wanted: wanted != ["text"],
    "audio": lambda _: True,
    "web_search_options": lambda _: True,
}


class ChatApi:
    """The handler over the journey that answers."""

    def __init__(self, answering: Answering, tokens: TokenCounter) -> None:
        self._answering = answering
        self._tokens = tokens

    def routes(self) -> list[Route]:
        """What the gateway serves."""
        return [route("POST", CHAT_PATH, self.complete, OPENAI_SHAPE)]

    async def complete(self, request: Request) -> Response:
        """Answer the last question, whole or as a stream of chunks."""
        asked = parse_asked(ChatRequest, await read_json(request))
        require_model(asked.model)
        _refuse_what_cannot_be_done(asked)
        question = AnswerRequest(question=_question(asked), stream=bool(asked.stream), **asked.ekiben.model_dump())
        if not asked.stream:
            return json_response(await self._completion(await self._answering.answer(question)))
        wants_usage = bool(asked.stream_options and asked.stream_options.include_usage)
        return EventStream(self._messages(await self._answering.events(question), wants_usage))

    async def _completion(self, answer: Answer) -> ChatCompletion:
        choice = ChatChoice(message=AnswerMessage(content=answer.answer, citations=answer.citations))
        return ChatCompletion(id=answer.id, created=_now(), choices=(choice,), usage=await self._tokens.usage(answer))

    async def _messages(self, events: AsyncGenerator[AnswerEvent, None], wants_usage: bool) -> AsyncGenerator[str, None]:
        """The chunks. What fails midway is a message with an error, after which the stream ends without its usual end."""
        created, identifier = _now(), ""

        def chunk(delta: ChatDelta, finish: str | None = None) -> str:
            choice = ChunkChoice.model_validate({"delta": delta, "finish_reason": finish})
            return _chunk_message(ChatChunk(id=identifier, created=created, choices=(choice,)), wants_usage)

        async with aclosing(events):
            async for event in events:
                match event:
                    case RetrievedEvent():
                        identifier = event.data.id
                        yield chunk(ChatDelta(role="assistant", content=""))
                    case TokenEvent():
                        yield chunk(ChatDelta(content=event.data.text))
                    case DoneEvent():
                        yield chunk(ChatDelta(citations=event.data.citations), "stop")
                        if wants_usage:
                            usage = await self._tokens.usage(event.data)
                            yield _chunk_message(ChatChunk(id=identifier, created=created, choices=(), usage=usage), wants_usage)
                    case ErrorEvent():
                        yield sse(openai_error(error_from(event.data.error)).model_dump())
                        return
        yield _END


def _question(asked: ChatRequest) -> str:
    """The text of the last message of a user; raises InvalidParameter where there is none that can be read."""
    message = next((message for message in reversed(asked.messages) if message.role == "user"), None)
    if message is None:
        raise InvalidParameter("messages", "no message has the role 'user': the last one that has it is the question")
    parts = message.content if isinstance(message.content, list) else []
    if unread := [part.type for part in parts if part.type != "text"]:
        raise InvalidParameter("messages", f"the question holds a part of type {unread[0][:100]!r}; only text can be read")
    text = "\n".join(part.text or "" for part in parts) if parts else message.content
    return _checked(text if isinstance(text, str) else "")


def _checked(question: str) -> str:
    try:
        return parse_asked(AnswerRequest, {"question": question}).question
    except InvalidParameter as error:
        raise InvalidParameter("messages", f"the last message of the user is no question: {error.message}") from error


def _refuse_what_cannot_be_done(asked: ChatRequest) -> None:
    for name, cannot_be_done in _REFUSED.items():
        value = getattr(asked, name)
        if value is not None and cannot_be_done(value):
            raise InvalidParameter(name, f"{name} can't be done here: leave it out")


def _chunk_message(chunk: ChatChunk, wants_usage: bool) -> str:
    content = chunk.model_dump(mode="json", exclude=None if wants_usage else {"usage"})
    for choice in content["choices"]:
        choice["delta"] = {name: value for name, value in choice["delta"].items() if value is not None}
    return sse(content)


def _now() -> int:
    return int(time.time())
