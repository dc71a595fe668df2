"""The OpenAI-compatible API through the real services, with OpenAI's own Python client."""

import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from clients.http_client import EkibenClient
from core.schemas import AnswerRequest, Citation
from tests.servers import Server

QUESTION = "Which tunnel lies under the Tsugaru Strait?"
ASKED: Any = {"model": "ekiben", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]}


@pytest.fixture
def api(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_api(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def _citations(extra: dict[str, Any] | None) -> list[Citation]:
    return [Citation.model_validate(one) for one in (extra or {})["citations"]]


def test_a_completion_is_the_answer_with_its_citations(api: openai.OpenAI, client: EkibenClient):
    completion = api.chat.completions.create(**ASKED, temperature=0.1, user="me")
    answer = client.answer(AnswerRequest(question=QUESTION))
    (choice,) = completion.choices
    assert (choice.message.content, choice.finish_reason) == (answer.answer, "stop")
    assert tuple(_citations(choice.message.model_extra)) == answer.citations != ()
    assert completion.usage
    assert completion.usage.prompt_tokens > 100 > completion.usage.completion_tokens > 5
    assert client.record(completion.id).answer.answer == answer.answer


def test_a_stream_is_the_same_completion(api: openai.OpenAI):
    whole = api.chat.completions.create(**ASKED)
    chunks = list(api.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True}))
    *pieces, last = chunks
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole.choices[0].message.content
    assert _citations(pieces[-1].choices[0].delta.model_extra) == _citations(whole.choices[0].message.model_extra)
    assert [piece.choices[0].finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["stop"]
    assert (last.choices, last.usage) == ([], whole.usage)


async def test_the_asynchronous_client_streams_as_well(async_api: openai.AsyncOpenAI):
    stream = await async_api.chat.completions.create(**ASKED, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    completion = await async_api.chat.completions.create(**ASKED)
    assert text == completion.choices[0].message.content != ""


def test_models_are_listed_and_others_are_not_found(api: openai.OpenAI):
    assert [model.id for model in api.models.list()] == ["ekiben"]
    assert api.models.retrieve("ekiben").owned_by == "ekiben"
    for ask in (lambda: api.models.retrieve("gpt-4"), lambda: api.chat.completions.create(**(ASKED | {"model": "gpt-4"}))):
        with pytest.raises(openai.NotFoundError) as caught:
            ask()
        assert caught.value.code == "model_not_found"


def test_embeddings_are_the_encoders_unit_vectors_in_both_encodings(api: openai.OpenAI, client: EkibenClient):
    texts = ["A tunnel under the sea.", "An undersea tunnel.", "A recipe for soup. " * 100]
    given = api.embeddings.create(model="ekiben", input=texts, encoding_format="float")
    vectors = np.array([one.embedding for one in given.data], dtype=np.float32)
    store = client.status().store
    assert store
    assert store.encoder
    assert vectors.shape == (3, store.encoder.dim)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.7 > vectors[0] @ vectors[2]
    assert (given.usage.prompt_tokens, given.model_extra) == (given.usage.total_tokens, {"encoder": store.encoder.fingerprint})
    # The client asks for base64 where nothing is said, and decodes it.
    decoded = api.embeddings.create(model="ekiben", input=texts[0]).data[0].embedding
    raw = httpx.post(f"{api.base_url}embeddings", json={"model": "ekiben", "input": texts[0], "encoding_format": "base64"}).json()
    assert np.array_equal(np.frombuffer(base64.b64decode(raw["data"][0]["embedding"]), "<f4"), np.array(decoded, np.float32))
    assert np.allclose(vectors[0], decoded, atol=1e-5)


def test_what_cannot_be_done_is_a_bad_request_with_the_name_of_the_parameter(api: openai.OpenAI):
    for param, value in (("n", 2), ("logprobs", True), ("tools", [{"type": "function", "function": {"name": "f", "parameters": {}}}])):
        with pytest.raises(openai.BadRequestError) as caught:
            api.chat.completions.create(**ASKED, **{param: value})
        assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        api.embeddings.create(model="ekiben", input="x", dimensions=64)


def test_the_borders_own_errors_are_in_openais_shape(server: Server):
    answers = [
        httpx.post(f"{server.url}/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"}),
        httpx.post(f"{server.url}/v1/chat/completions", content=b"{", headers={"content-type": "application/json"}),
        httpx.get(f"{server.url}/v1/chat/completions"),
        httpx.get(f"{server.url}/v1/models/a/b"),
    ]
    assert [answer.status_code for answer in answers] == [415, 400, 405, 404]
    assert all(set(answer.json()["error"]) == {"message", "type", "param", "code"} for answer in answers)
    assert all(answer.headers["x-request-id"] for answer in answers)
