import httpx
import pytest

from core.errors import DependencyUnavailable, ReindexConflict
from tests.services.gateway.fakes import FakeGenerator, FakeRetriever


async def test_compacting_tells_what_it_gained(api: httpx.AsyncClient) -> None:
    assert (await api.post("/v1/compact")).json() == {"bytes_before": 2, "bytes_after": 1, "vectors_dropped": 0}


async def test_a_generator_whose_model_is_gone_is_a_problem(api: httpx.AsyncClient, generator: FakeGenerator) -> None:
    before = (await api.get("/v1/status")).json()
    generator.ready = False
    after = (await api.get("/v1/status")).json()
    assert (before["ready"], before["problems"], after["ready"]) == (True, [], False)
    assert [problem["code"] for problem in after["problems"]] == ["not_ready"]
    assert after["generator"] == before["generator"]


async def test_a_reindexing_is_accepted(api: httpx.AsyncClient) -> None:
    response = await api.post("/v1/reindex")
    assert (response.status_code, response.json()["state"], response.json()["target"]) == (202, "running", "encoder-b")


@pytest.mark.parametrize(("failure", "status"), [(ReindexConflict("another one runs"), 409), (DependencyUnavailable("no Retriever"), 503)])
async def test_what_the_retriever_raises_is_the_answer(
    api: httpx.AsyncClient, retriever: FakeRetriever, failure: ReindexConflict, status: int
) -> None:
    retriever.failure = failure
    for path in ("/v1/reindex", "/v1/compact"):
        response = await api.post(path)
        assert (response.status_code, response.json()["error"]["code"]) == (status, failure.code)
