"""Chat completions over parts in memory: what is read of a conversation, what is refused, and the shape of what comes back."""

import json
from typing import Any

import httpx
import pytest

from core.errors import CollectionNotFound, DeadlineExceeded, DependencyUnavailable, GenerationFailed, Overloaded
from services.gateway.openai_api.wire import ChatCompletion, OpenAIErrorBody
from tests.services.gateway.fakes import FakeGenerator, FakeRetriever

PATH = "/v1/chat/completions"
ANSWER = "The bridge in default was opened in 1931."


def _asking(question: object = "When was the bridge opened?", **options: object) -> dict[str, object]:
    return {"model": "ekiben", "messages": [{"role": "user", "content": question}], **options}


async def _error(api: httpx.AsyncClient, body: dict[str, object]) -> tuple[int, OpenAIErrorBody]:
    response = await api.post(PATH, json=body)
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    return response.status_code, OpenAIErrorBody.model_validate(response.json())


async def _messages(api: httpx.AsyncClient, **options: object) -> list[str]:
    response = await api.post(PATH, json=_asking(stream=True, **options))
    assert response.headers["content-type"].startswith("text/event-stream")
    *messages, end = response.text.split("\n\n")
    assert end == ""
    return [message.removeprefix("data: ") for message in messages]


async def test_the_answer_comes_with_its_citations_and_the_tokens_that_it_cost(api: httpx.AsyncClient) -> None:
    response = await api.post(PATH, json=_asking())
    completion = ChatCompletion.model_validate(response.json())
    (choice,) = completion.choices
    assert (choice.message.content, choice.finish_reason, completion.model) == (ANSWER, "stop", "ekiben")
    assert [citation.quote for citation in choice.message.citations] == [ANSWER]
    assert completion.usage is not None
    # Words and points, by the tokenizer of the fake: 6 of the question, 9 of the passage, 9 of the answer.
    assert completion.usage.model_dump() == {"prompt_tokens": 15, "completion_tokens": 9, "total_tokens": 24}


async def test_the_completion_has_the_id_of_the_record(api: httpx.AsyncClient) -> None:
    completion = (await api.post(PATH, json=_asking())).json()
    record = (await api.get(f"/v1/answers/{completion['id']}")).json()
    assert record["answer"]["answer"] == completion["choices"][0]["message"]["content"]


async def test_the_stream_is_the_answer_in_chunks(api: httpx.AsyncClient) -> None:
    *chunks, end = await _messages(api)
    parsed = [json.loads(chunk) for chunk in chunks]
    deltas = [chunk["choices"][0]["delta"] for chunk in parsed]
    assert end == "[DONE]"
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == ANSWER
    assert [citation["quote"] for citation in deltas[-1]["citations"]] == [ANSWER]
    assert [chunk["choices"][0]["finish_reason"] for chunk in parsed] == [None] * (len(parsed) - 1) + ["stop"]
    assert len({(chunk["id"], chunk["created"], chunk["object"], chunk["model"]) for chunk in parsed}) == 1
    assert not any("usage" in chunk for chunk in parsed)


async def test_usage_is_the_last_chunk_of_a_stream_that_was_asked_for_it(api: httpx.AsyncClient) -> None:
    *chunks, last, end = await _messages(api, stream_options={"include_usage": True})
    assert end == "[DONE]"
    assert {json.loads(chunk)["usage"] for chunk in chunks} == {None}
    assert json.loads(last)["choices"] == []
    assert json.loads(last)["usage"] == (await api.post(PATH, json=_asking())).json()["usage"]


async def test_only_the_last_message_of_the_user_is_asked(api: httpx.AsyncClient) -> None:
    messages = [
        {"role": "system", "content": "You are a pirate."},
        {"role": "user", "content": "First?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": [{"type": "text", "text": "Second"}, {"type": "text", "text": "part?"}]},
        {"role": "assistant", "content": None, "name": "x"},
    ]
    completion = (await api.post(PATH, json={"model": "ekiben", "messages": messages})).json()
    record = (await api.get(f"/v1/answers/{completion['id']}")).json()
    assert record["request"]["question"] == "Second\npart?"


async def test_retrieval_can_be_chosen(api: httpx.AsyncClient) -> None:
    response = await api.post(PATH, json=_asking(ekiben={"collections": ["bridges"], "top_k": 3}))
    assert response.json()["choices"][0]["message"]["content"] == "The bridge in bridges was opened in 1931."


IGNORED: dict[str, Any] = {
    "temperature": 0.2,
    "top_p": 0.9,
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "stop": ["."],
    "seed": 1,
    "user": "me",
    "presence_penalty": 0.5,
    "logit_bias": {"1": 2},
    "metadata": {"a": "b"},
    "n": 1,
    "logprobs": False,
    "tools": [],
    "tool_choice": "none",
    "response_format": {"type": "text"},
    "modalities": ["text"],
    "from_the_future": {},
}


@pytest.mark.parametrize("name", IGNORED)
async def test_harmless_parameters_change_nothing(api: httpx.AsyncClient, name: str) -> None:
    response = await api.post(PATH, json=_asking(**{name: IGNORED[name]}))
    assert response.json()["choices"][0]["message"]["content"] == ANSWER


REFUSED: dict[str, Any] = {
    "n": 2,
    "logprobs": True,
    "top_logprobs": 3,
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "functions": [{"name": "f"}],
    "response_format": {"type": "json_object"},
    "modalities": ["audio"],
    "audio": {"voice": "alloy"},
    "web_search_options": {},
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_done_is_refused_by_name(api: httpx.AsyncClient, name: str) -> None:
    status, body = await _error(api, _asking(**{name: REFUSED[name]}))
    assert (status, body.error.param, body.error.type, body.error.code) == (400, name, "invalid_request_error", "invalid_request")
    assert name in body.error.message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "ekiben"}, "messages"),
        ({"model": "ekiben", "messages": []}, "messages"),
        ({"model": "ekiben", "messages": [{"role": "system", "content": "x"}]}, "messages"),
        (_asking(""), "messages"),
        (_asking(None), "messages"),
        (_asking("x" * 4_001), "messages"),
        (_asking([{"type": "image_url", "image_url": {"url": "data:"}}]), "messages"),
        (_asking(stream="yes"), "stream"),
        (_asking(ekiben={"top_k": 0}), "ekiben"),
        ({"messages": [{"role": "user", "content": "x"}]}, "model"),
    ],
)
async def test_a_conversation_without_a_question_is_refused(api: httpx.AsyncClient, body: dict[str, object], param: str) -> None:
    status, refused = await _error(api, body)
    assert (status, refused.error.param) == (400, param)


async def test_another_model_is_not_there(api: httpx.AsyncClient) -> None:
    status, body = await _error(api, _asking() | {"model": "gpt-4"})
    assert (status, body.error.code) == (404, "model_not_found")
    assert "'gpt-4'" in body.error.message


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [
        (DependencyUnavailable("down"), 503, "server_error"),
        (DeadlineExceeded("late"), 504, "server_error"),
        (Overloaded("busy"), 429, "rate_limit_error"),
        (CollectionNotFound("none"), 404, "invalid_request_error"),
    ],
)
async def test_a_failed_retrieval_is_answered_with_its_status(
    api: httpx.AsyncClient, retriever: FakeRetriever, failure: Any, status: int, kind: str, stream: bool
) -> None:
    retriever.failure = failure
    answered, body = await _error(api, _asking(stream=stream))
    assert (answered, body.error.type, body.error.code, body.error.message) == (status, kind, failure.code, failure.message)


async def test_a_stream_that_fails_midway_ends_with_an_error_and_not_as_if_it_were_done(api: httpx.AsyncClient, generator: FakeGenerator) -> None:
    generator.failure_midway = GenerationFailed("the model broke")
    *chunks, last = await _messages(api)
    assert any(ANSWER in chunk for chunk in chunks)
    assert json.loads(last) == {"error": {"message": "the model broke", "type": "server_error", "param": None, "code": "generation_failed"}}
