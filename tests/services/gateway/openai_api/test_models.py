import httpx
import pytest

from services.gateway.openai_api.wire import Model, ModelList


async def test_there_is_one_model(api: httpx.AsyncClient) -> None:
    listed = ModelList.model_validate((await api.get("/v1/models")).json())
    assert [model.id for model in listed.data] == ["ekiben"]
    assert Model.model_validate((await api.get("/v1/models/ekiben")).json()) == listed.data[0]


@pytest.mark.parametrize("name", ["gpt-4", "org/name", "ekiben/x"])
async def test_there_is_no_other(api: httpx.AsyncClient, name: str) -> None:
    response = await api.get(f"/v1/models/{name}")
    assert (response.status_code, response.json()["error"]["code"], response.json()["error"]["param"]) == (404, "model_not_found", None)
