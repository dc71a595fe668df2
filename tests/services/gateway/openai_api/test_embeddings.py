import httpx
import numpy as np
import pytest

from core.errors import IndexMismatch
from core.vectors import unpack
from services.gateway.openai_api.wire import MAX_INPUTS, EmbeddingList
from tests.services.gateway.fakes import FakeRetriever

PATH = "/v1/embeddings"
UNIT = [1.0, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("given", "texts", "tokens"), [("one text", ["one text"], 2), (["one text", "another"], ["one text", "another"], 3)])
async def test_each_text_gets_a_vector_in_order(
    api: httpx.AsyncClient, retriever: FakeRetriever, given: object, texts: list[str], tokens: int
) -> None:
    answer = EmbeddingList.model_validate((await api.post(PATH, json={"model": "ekiben", "input": given})).json())
    assert [item.text for item in retriever.embedded] == texts
    assert [(one.index, one.embedding) for one in answer.data] == [(index, UNIT) for index in range(len(texts))]
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens, answer.encoder) == (tokens, tokens, "encoder-a")


async def test_base64_holds_the_same_numbers(api: httpx.AsyncClient) -> None:
    answer = (await api.post(PATH, json={"model": "ekiben", "input": "x", "encoding_format": "base64"})).json()
    assert np.array_equal(unpack(answer["data"][0]["embedding"]), np.array(UNIT, dtype="<f4"))


@pytest.mark.parametrize("kind", ["query", "document"])
async def test_the_kind_of_text_is_passed_on(api: httpx.AsyncClient, retriever: FakeRetriever, kind: str) -> None:
    await api.post(PATH, json={"model": "ekiben", "input": "x", "kind": kind})
    assert [item.kind for item in retriever.embedded] == [kind]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": []}, "input"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": ["x"] * (MAX_INPUTS + 1)}, "input"),
        ({}, "input"),
        ({"input": "x", "dimensions": 2}, "dimensions"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
    ],
)
async def test_what_cannot_be_embedded_is_refused_by_name(
    api: httpx.AsyncClient, retriever: FakeRetriever, body: dict[str, object], param: str
) -> None:
    response = await api.post(PATH, json={"model": "ekiben", **body})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert retriever.embedded == []


async def test_errors_have_their_status(api: httpx.AsyncClient, retriever: FakeRetriever) -> None:
    assert (await api.post(PATH, json={"model": "other", "input": "x"})).status_code == 404
    retriever.failure = IndexMismatch("another encoder")
    response = await api.post(PATH, json={"model": "ekiben", "input": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (409, "index_mismatch")
