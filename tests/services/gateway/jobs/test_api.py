import httpx
import pytest

from core.errors import DependencyUnavailable
from tests.services.gateway.fakes import FakeRetriever


def _code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def _upload(api: httpx.AsyncClient, *names: str, collection: str = "default", content: bytes = b"Some text.") -> httpx.Response:
    return await api.post("/v1/documents", files=[("files", (name, content)) for name in names], data={"collection": collection})


@pytest.fixture
def waiting(retriever: FakeRetriever) -> None:
    """Jobs stay where they are."""
    retriever.failure = DependencyUnavailable("no Retriever")


@pytest.mark.usefixtures("waiting")
async def test_an_upload_is_answered_with_its_job_though_nothing_can_be_stored_now(api: httpx.AsyncClient) -> None:
    response = await _upload(api, "a.txt", "b.txt", collection="mine")
    job = response.json()
    assert (response.status_code, response.headers["location"]) == (202, f"/v1/jobs/{job['id']}")
    assert (job["state"], job["collection"], job["items"], job["items_done"]) == ("queued", "mine", 2, 0)
    assert (await api.get(response.headers["location"])).json()["id"] == job["id"]


@pytest.mark.usefixtures("waiting")
async def test_jobs_are_listed_and_cancelled(api: httpx.AsyncClient) -> None:
    first, second = [(await _upload(api, "a.txt", collection=name)).json()["id"] for name in ("one", "two")]
    assert [job["id"] for job in (await api.get("/v1/jobs")).json()["jobs"]] == [second, first]
    page = (await api.get("/v1/jobs?limit=1")).json()
    assert [job["id"] for job in (await api.get(f"/v1/jobs?cursor={page['next']}")).json()["jobs"]] == [first]
    for _ in range(2):
        cancelled = await api.post(f"/v1/jobs/{first}/cancel")
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert [job["id"] for job in (await api.get("/v1/jobs?state=cancelled")).json()["jobs"]] == [first]
    assert (await api.get("/v1/jobs?state=cancelled&collection=two")).json()["jobs"] == []


@pytest.mark.usefixtures("waiting")
async def test_more_than_may_wait_is_refused_with_the_time_to_come_back(api: httpx.AsyncClient) -> None:
    assert (await _upload(api, "a.txt", content=b"x" * 600_000)).status_code == 202
    refused = await _upload(api, "b.txt", content=b"x" * 600_000)
    assert _code(refused) == (429, "queue_full")
    assert refused.headers["retry-after"] == "1"
    assert len((await api.get("/v1/jobs")).json()["jobs"]) == 1


async def test_a_job_that_is_not_there_is_not_found(api: httpx.AsyncClient) -> None:
    assert _code(await api.get("/v1/jobs/nobody")) == (404, "job_not_found")
    assert _code(await api.post("/v1/jobs/nobody/cancel")) == (404, "job_not_found")


@pytest.mark.parametrize("query", ["state=lost", "limit=0", "cursor=x", "collection=a%20b", "page=2"])
async def test_a_wrong_parameter_of_the_list_is_refused_by_name(api: httpx.AsyncClient, query: str) -> None:
    response = await api.get(f"/v1/jobs?{query}")
    assert _code(response) == (422, "invalid_request")
    assert response.json()["error"]["message"].startswith(query.partition("=")[0])
