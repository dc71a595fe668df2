import httpx
import pytest


def _code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def test_a_collection_is_made_shown_listed_and_deleted(api: httpx.AsyncClient) -> None:
    assert (await api.get("/v1/collections")).json() == {"collections": []}
    made = await api.put("/v1/collections/mine", json={"chunk_tokens": 64})
    assert (made.status_code, made.json()["settings"]["chunk_tokens"]) == (200, 64)
    assert (await api.get("/v1/collections/mine")).json() == made.json()
    assert [one["name"] for one in (await api.get("/v1/collections")).json()["collections"]] == ["mine"]
    assert (await api.delete("/v1/collections/mine")).json() == {"name": "mine", "documents": 0, "chunks": 0}
    assert _code(await api.get("/v1/collections/mine")) == (404, "collection_not_found")
    assert _code(await api.delete("/v1/collections/mine")) == (404, "collection_not_found")


async def test_a_collection_that_its_first_document_made_is_there(api: httpx.AsyncClient) -> None:
    await api.post("/v1/documents", json={"documents": [{"id": "a", "text": "One."}], "collection": "mine"})
    assert (await api.get("/v1/collections/mine")).json()["documents"] == 1


@pytest.mark.parametrize("settings", [{"chunk_tokens": 1}, {"chunk_tokens": "64"}, {"tokens": 64}, []])
async def test_wrong_settings_are_refused(api: httpx.AsyncClient, settings: object) -> None:
    assert _code(await api.put("/v1/collections/mine", json=settings)) == (422, "invalid_request")
    assert (await api.get("/v1/collections")).json() == {"collections": []}


@pytest.mark.parametrize("path", ["/v1/collections/no%20name", "/v1/collections/mine?force=1"])
async def test_a_wrong_name_or_parameter_deletes_nothing(api: httpx.AsyncClient, path: str) -> None:
    await api.put("/v1/collections/mine", json={})
    assert _code(await api.delete(path)) == (422, "invalid_request")
    assert len((await api.get("/v1/collections")).json()["collections"]) == 1
