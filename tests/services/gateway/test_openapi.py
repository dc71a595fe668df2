import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import httpx
import pytest
from starlette.responses import Response

from core.errors import all_errors
from core.schemas import AnswerEvent
from core.settings import load_settings
from services.gateway.app import gateway_app
from services.gateway.docs_page import docs_page, docs_script
from services.gateway.openai_api.errors import openai_status
from services.gateway.openai_api.wire import ChatChunk
from services.gateway.openapi import openapi_document
from services.gateway.operations import OPERATIONS

DOCUMENT = openapi_document()


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value)


def _operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, described) for path, methods in DOCUMENT["paths"].items() for method, described in methods.items()]


def test_the_document_is_plain_json() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert DOCUMENT["openapi"].startswith("3.1")


def test_every_reference_leads_to_a_schema() -> None:
    references = {node["$ref"] for node in _walk(DOCUMENT) if isinstance(node.get("$ref"), str)}
    assert references
    assert {reference.rpartition("/")[2] for reference in references} <= set(DOCUMENT["components"]["schemas"])
    assert all(reference.startswith("#/components/schemas/") for reference in references)


def test_every_schema_is_used() -> None:
    used = {node["$ref"].rpartition("/")[2] for node in _walk(DOCUMENT) if isinstance(node.get("$ref"), str)}
    assert set(DOCUMENT["components"]["schemas"]) == used


def test_operation_ids_are_unique() -> None:
    ids = [described["operationId"] for _, _, described in _operations()]
    assert len(set(ids)) == len(ids) == len(OPERATIONS)


@pytest.mark.parametrize(("method", "path", "described"), _operations(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_parameters_of_a_path_are_described(method: str, path: str, described: dict[str, Any]) -> None:
    in_path = {one["name"] for one in described.get("parameters", ()) if one["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", path))
    with_body = ("/v1/answer", "/v1/search", "/v1/chat/completions", "/v1/embeddings")
    assert ("requestBody" in described) == (method == "put" or path in with_body or (method, path) == ("post", "/v1/documents"))


@pytest.mark.parametrize(("method", "path", "described"), _operations(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_error_that_is_listed_is_one_of_the_tree_with_its_status(method: str, path: str, described: dict[str, Any]) -> None:
    openai = path.startswith(("/v1/chat", "/v1/embeddings", "/v1/models"))
    statuses = {cls.code: str(int(openai_status(cls)) if openai else cls.status) for cls in all_errors()}
    listed = [(status, code) for status, answer in described["responses"].items() for code in re.findall(r"`(\w+)`", answer["description"])]
    assert {status for status, _ in listed} == set(described["responses"]) - {"200", "202"}
    assert [(status, code) for status, code in listed if statuses[code] != status] == []
    for status in set(described["responses"]) - {"200", "202"}:
        assert described["responses"][status]["content"]["application/json"]["schema"] == {
            "$ref": f"#/components/schemas/{'OpenAIErrorBody' if openai else 'ErrorBody'}"
        }


def test_every_route_of_documents_and_status_is_described_and_no_other() -> None:
    routes = gateway_app(None, None, None, None, None, None, load_settings()).routes  # type: ignore[arg-type]
    served = {(method.lower(), route.path.replace(":path", "")) for route in routes for method in route.methods if method != "HEAD"}  # type: ignore[attr-defined]
    described = {(method, path) for method, path, _ in _operations()}
    assert {one for one in served if one[1].startswith("/v1/")} == described - {("post", "/v1/answer"), ("post", "/v1/search")}


@pytest.mark.parametrize(("path", "names"), [("/v1/answer", get_args(get_args(AnswerEvent)[0])), ("/v1/chat/completions", (ChatChunk,))])
def test_the_events_of_streams_are_described(path: str, names: tuple[type, ...]) -> None:
    schema = DOCUMENT["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]["schema"]
    described = [one["$ref"].rpartition("/")[2] for one in schema.get("oneOf", [schema])]
    assert described == [event.__name__ for event in names]


def test_documents_to_add_are_described_though_each_is_checked_on_its_own() -> None:
    items = DOCUMENT["components"]["schemas"]["AddRequest"]["properties"]["documents"]["items"]
    assert items == {"$ref": "#/components/schemas/Document"}
    assert set(DOCUMENT["components"]["schemas"]["Document"]["required"]) == {"id", "text"}


@pytest.mark.parametrize("response", [docs_page(), docs_script()], ids=["page", "script"])
def test_the_docs_ask_no_third_party_for_anything(response: Response) -> None:
    text = bytes(response.body).decode()
    assert re.findall(r"""(?:https?:)?//[\w.-]+""", text) == []
    assert {url[0] for url in re.findall(r"""(?:src|href|url)\s*[=:]\s*"([^"]+)""", text)} == {"/"}


async def test_the_pages_policy_allows_this_origin_only() -> None:
    app = gateway_app(None, None, None, None, None, None, load_settings())  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        page, script, document = [await client.get(path) for path in ("/docs", "/docs.js", "/openapi.json")]
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "http" not in page.headers["content-security-policy"]
    assert script.headers["content-type"].startswith("text/javascript")
    assert document.json() == DOCUMENT
