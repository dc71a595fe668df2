import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from core.errors import DependencyUnavailable, StorageFull
from tests.services.gateway.fakes import FakeGenerator, FakeRetriever

PDF = Path(__file__).parents[3] / "data/sample/documents/engineering/air-brake.pdf"


async def _add(api: httpx.AsyncClient, *ids: str, collection: str = "default") -> None:
    documents = [{"id": one, "text": f"The text of {one}."} for one in ids]
    assert (await api.post("/v1/documents", json={"documents": documents, "collection": collection})).status_code == 200


async def _ended(api: httpx.AsyncClient, accepted: httpx.Response) -> Mapping[str, Any]:
    """The job that `accepted` tells of, when it has ended."""
    assert accepted.status_code == 202, accepted.text
    while (job := (await api.get(accepted.headers["location"])).json())["finished_at"] is None:
        pass
    return dict(job)


def _code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def test_documents_are_added_each_on_its_own(api: httpx.AsyncClient, retriever: FakeRetriever) -> None:
    documents = [{"id": "a", "text": "One."}, {"id": "b"}, 5, {"id": "c", "text": "Two.", "metadata": {"year": 1901}}]
    response = await api.post("/v1/documents", json={"documents": documents, "collection": "mine"})
    assert response.status_code == 200
    results = response.json()["documents"]
    assert [(one["id"], one["state"]) for one in results] == [("a", "created"), ("b", "failed"), ("#2", "failed"), ("c", "created")]
    assert [one["error"]["code"] for one in results if one["error"]] == ["invalid_request", "invalid_request"]
    assert set(retriever.stored) == {("mine", "a"), ("mine", "c")}


@pytest.mark.parametrize("identifier", ["a", "folder/a b.md", "ünï/日本 😀.txt", "a?b=c&d#e", "100%", "%2F", "a/", "/a", "a//b", "a+b"])
async def test_a_document_is_got_and_deleted_by_any_id(api: httpx.AsyncClient, identifier: str) -> None:
    await _add(api, identifier, "other")
    path = f"/v1/documents/{quote(identifier, safe='/')}"
    assert (await api.get(path)).json()["text"] == f"The text of {identifier}."
    deleted = await api.delete(path)
    assert (deleted.status_code, deleted.json()["id"]) == (200, identifier)
    assert _code(await api.get(path)) == (404, "document_not_found")
    assert _code(await api.delete(path)) == (404, "document_not_found")
    assert (await api.get("/v1/documents/other")).status_code == 200


async def test_the_collection_is_a_parameter(api: httpx.AsyncClient) -> None:
    await _add(api, "a", collection="mine")
    assert _code(await api.get("/v1/documents/a")) == (404, "document_not_found")
    assert (await api.get("/v1/documents/a?collection=mine")).json()["collection"] == "mine"


@pytest.mark.parametrize("query", ["id=b", "colection=x", "collection=..%2F", "collection="])
async def test_a_parameter_that_is_none_touches_no_document(api: httpx.AsyncClient, retriever: FakeRetriever, query: str) -> None:
    await _add(api, "a", "b")
    assert _code(await api.delete(f"/v1/documents/a?{query}")) == (422, "invalid_request")
    assert len(retriever.stored) == 2


async def test_the_list_is_paged(api: httpx.AsyncClient) -> None:
    await _add(api, *"abcde")
    await _add(api, "x", collection="mine")
    ids, query = [], "limit=2"
    while query:
        page = (await api.get(f"/v1/documents?{query}")).json()
        ids += [one["id"] for one in page["documents"]]
        query = f"limit=2&cursor={page['next']}" if page["next"] else ""
    assert ids == [*"abcde", "x"]
    assert [one["id"] for one in (await api.get("/v1/documents?collection=mine")).json()["documents"]] == ["x"]


@pytest.mark.parametrize("query", ["cursor=magic", "limit=0", "limit=1001", "limit=many", "limit=1.5", "page=2", "collection=a%20b"])
async def test_a_wrong_parameter_of_the_list_is_refused_by_name(api: httpx.AsyncClient, query: str) -> None:
    response = await api.get(f"/v1/documents?{query}")
    assert _code(response) == (422, "invalid_request")
    assert response.json()["error"]["message"].startswith(query.partition("=")[0])


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"documents": [', b"[" * 100_000, b"1" * 5000])
async def test_a_body_that_is_no_json_is_malformed(api: httpx.AsyncClient, body: bytes) -> None:
    response = await api.post("/v1/documents", content=body, headers={"Content-Type": "application/json"})
    assert _code(response) == (400, "malformed_body")


@pytest.mark.parametrize(
    "body", [[], {}, {"documents": []}, {"documents": [{}] * 257}, {"documents": [{}], "x": 1}, {"documents": [{}], "collection": "?"}]
)
async def test_a_body_of_the_wrong_shape_is_invalid(api: httpx.AsyncClient, body: object) -> None:
    assert _code(await api.post("/v1/documents", json=body)) == (422, "invalid_request")


async def test_a_number_that_is_none_fails_its_document_alone(api: httpx.AsyncClient) -> None:
    body = b'{"documents": [{"id": "a", "text": "x", "metadata": {"k": NaN}}, {"id": "b", "text": "y"}]}'
    response = await api.post("/v1/documents", content=body, headers={"Content-Type": "application/json"})
    assert [one["state"] for one in response.json()["documents"]] == ["failed", "created"]


async def test_files_are_added_each_on_its_own(api: httpx.AsyncClient, retriever: FakeRetriever) -> None:
    files = [
        ("files", ("a.md", b"# Title\n\nSome text.")),
        ("files", ("air-brake.pdf", PDF.read_bytes())),
        ("files", ("fake.pdf", b"%PDF-1.7 but not really")),
        ("files", ("b.exe", b"MZ")),
        ("files", ("folder/a.md", b"# The same name")),
    ]
    job = await _ended(api, await api.post("/v1/documents", files=files, data={"collection": "mine"}))
    assert (job["state"], job["items"], job["items_done"], job["documents"]["created"], job["documents"]["failed"]) == ("done", 5, 5, 2, 3)
    assert [(one["id"], one["error"]["code"]) for one in job["errors"]] == [
        ("fake.pdf", "document_unreadable"),
        ("b.exe", "unsupported_format"),
        ("a.md", "invalid_request"),
    ]
    assert set(retriever.stored) == {("mine", "a.md"), ("mine", "air-brake.pdf")}
    assert retriever.stored["mine", "air-brake.pdf"].document.page_starts


@pytest.mark.parametrize(
    ("files", "form"),
    [
        ([("file", ("a.txt", b"x"))], {}),
        ([("files", ("a.txt", b"x"))], {"colection": "mine"}),
        ([("files", ("a.txt", b"x"))], {"collection": "no name"}),
        ([("files", ("a.txt", b"x"))], {"fields": '{"txt": "body"}'}),
        ([("other", ("", b""))], {}),
        ([("files", (None, b"the text itself"))], {}),
        ([("files", ("a.txt", b"x")), ("collection", ("c.txt", b"x"))], {}),
    ],
)
async def test_a_form_of_the_wrong_shape_is_invalid(
    api: httpx.AsyncClient, retriever: FakeRetriever, files: list[tuple[str, tuple[str | None, bytes]]], form: dict[str, str]
) -> None:
    assert _code(await api.post("/v1/documents", files=files, data=form)) == (422, "invalid_request")
    assert retriever.stored == {}


async def test_a_field_map_says_where_the_text_is(api: httpx.AsyncClient, retriever: FakeRetriever) -> None:
    files = [("files", ("a.jsonl", b'{"key": "one", "body": "Some text."}\n{"key": "two", "body": "More text."}'))]
    fields = {"fields": json.dumps({"id": "key", "text": "body"})}
    job = await _ended(api, await api.post("/v1/documents", files=files, data=fields))
    assert (job["items"], job["documents"]["created"], job["errors"]) == (1, 2, [])
    assert {document.document.text for document in retriever.stored.values()} == {"Some text.", "More text."}


async def test_a_field_map_that_is_no_json_is_named(api: httpx.AsyncClient) -> None:
    response = await api.post("/v1/documents", files=[("files", ("a.txt", b"x"))], data={"fields": "no JSON"})
    assert _code(response) == (400, "malformed_body")
    assert response.json()["error"]["message"].startswith("fields is not JSON")


async def test_a_body_larger_than_what_may_wait_is_refused(api: httpx.AsyncClient) -> None:
    response = await api.post("/v1/documents", files=[("files", ("a.txt", b"x" * 1_000_001))])
    assert _code(response) == (413, "payload_too_large")


@pytest.mark.parametrize(("count", "chars", "status"), [(5, 5, 200), (6, 5, 202), (5, 18, 200), (5, 19, 202)])
async def test_more_documents_than_are_stored_at_once_become_a_job(
    api: httpx.AsyncClient, retriever: FakeRetriever, count: int, chars: int, status: int
) -> None:
    documents = [{"id": str(number), "text": "x" * chars} for number in range(count)]
    response = await api.post("/v1/documents", json={"documents": documents})
    assert response.status_code == status
    if status == 202:
        assert (await _ended(api, response))["documents"]["created"] == count
    assert {identifier for _, identifier in retriever.stored} == {str(number) for number in range(count)}


async def test_documents_of_a_job_are_stored_each_on_its_own(api: httpx.AsyncClient, retriever: FakeRetriever) -> None:
    documents = [{"id": "a", "text": "One."}, {"id": "b"}, 5, {"id": "a", "text": "Two."}, {"id": "\ud800", "text": "x"}, {"id": "c", "text": "y"}]
    response = await api.post("/v1/documents", content=json.dumps({"documents": documents}), headers={"Content-Type": "application/json"})
    job = await _ended(api, response)
    assert [(one["id"], one["error"]["code"]) for one in job["errors"]] == [
        ("b", "invalid_request"),
        ("#2", "invalid_request"),
        ("a", "invalid_request"),
        ("\ufffd", "invalid_request"),
    ]
    assert retriever.stored["default", "a"].document.text == "One."


@pytest.mark.parametrize("content_type", ["multipart/form-data", "Multipart/Form-Data; boundary=x", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("body", [b"no form at all", b"--x\r\nbroken"])
async def test_a_form_that_is_none_is_malformed(api: httpx.AsyncClient, content_type: str, body: bytes) -> None:
    response = await api.post("/v1/documents", content=body, headers={"Content-Type": content_type})
    assert _code(response) in [(400, "malformed_body"), (422, "invalid_request")]


async def test_too_many_files_are_refused(api: httpx.AsyncClient) -> None:
    response = await api.post("/v1/documents", files=[("files", (f"{number}.txt", b"x")) for number in range(257)])
    assert _code(response) == (400, "malformed_body")
    assert "256" in response.json()["error"]["message"]


@pytest.mark.parametrize("failure", [StorageFull("the disk is full"), DependencyUnavailable("the Retriever can't be reached")])
async def test_what_a_part_raises_is_the_answer(api: httpx.AsyncClient, retriever: FakeRetriever, failure: StorageFull) -> None:
    retriever.failure = failure
    for response in (await api.get("/v1/documents"), await api.get("/v1/documents/a"), await api.delete("/v1/documents/a")):
        assert _code(response) == (503, failure.code)
        assert response.headers["retry-after"] == "1"
    assert _code(await api.post("/v1/documents", json={"documents": [{"id": "a", "text": "x"}]})) == (503, failure.code)


async def test_status_answers_while_parts_are_down_and_names_them(api: httpx.AsyncClient, retriever: FakeRetriever, generator: FakeGenerator) -> None:
    assert (await api.get("/v1/status")).json()["ready"] is True
    retriever.failure, generator.failure = DependencyUnavailable("no Retriever"), DependencyUnavailable("no Generator")
    response = await api.get("/v1/status")
    assert response.status_code == 200
    status = response.json()
    assert (status["ready"], status["store"], status["generator"]) == (False, None, None)
    assert [problem["message"] for problem in status["problems"]] == ["no Retriever", "no Generator"]


async def test_the_root_is_the_page(api: httpx.AsyncClient) -> None:
    response = await api.get("/")
    assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, "text/html")
