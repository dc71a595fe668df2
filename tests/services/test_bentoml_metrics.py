"""BentoML's request metrics: as many series as there are routes, whatever is asked for."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from _bentoml_impl.server.mount import PassiveMount
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from services.bentoml_metrics import OTHER, endpoint
from services.border import PROBES
from services.gateway.operations import OPERATIONS
from tests.servers import Server, free_port, service

METRIC = "bentoml_service_request"
STRANGE = ["/v1/documents", "/v1/documents/", "//", "/%2e%2e/metrics", "/v1/answers/a/b", "/metrics/x", "/v1/documents/駅弁", "/" + "a" * 4_000]


async def _page(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.url.path)


async def _socket(socket: WebSocket) -> None:
    await socket.close()


MOUNTED = Starlette(routes=[Route("/v1/documents/{id:path}", _page), Route("/v1/answers/{answer_id}/replay", _page, methods=["POST"])])
ROUTES = [
    Route("/v1/answer", _page, methods=["POST"]),
    WebSocketRoute("/talk/{room}", _socket),
    PassiveMount("/", MOUNTED),
    Mount("/below", Starlette(routes=[Route("/{name}", _page)])),
    Mount("/files", StaticFiles(directory=Path(__file__).parent)),
]


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/v1/answer", "/v1/answer"),
        ("/v1/documents/a", "/v1/documents/{id}"),
        ("/v1/documents/a/b.pdf", "/v1/documents/{id}"),
        ("/v1/answers/ans_1/replay", "/v1/answers/{answer_id}/replay"),
        ("/v1/answers/ans_1", OTHER),
        ("/talk/one", "/talk/{room}"),
        ("/below/a", "/below/{name}"),
        ("/below/a/b", OTHER),
        ("/files/a/b", "/files/{path}"),
        ("/nowhere", OTHER),
        ("", OTHER),
    ],
)
def test_a_path_is_named_by_its_route(path: str, template: str) -> None:
    assert endpoint(ROUTES, path) == template


# -- a gateway without the services behind it, which answers 503 or 404 to whatever is asked ---------------------------------------


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    nobody = f"http://127.0.0.1:{free_port()}"
    with service("gateway", tmp_path_factory.mktemp("gateway"), EKIBEN_RETRIEVER__URL=nobody, EKIBEN_GENERATOR__URL=nobody) as started:
        started.wait_for("/livez")
        yield started


def _series(server: Server) -> dict[tuple[str, ...], float]:
    """BentoML's series of requests: name, endpoint, status (where it has one) and bucket (where it has one), with their values."""
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name.startswith(METRIC) and "endpoint" in sample.labels]
    labels = ("endpoint", "http_response_code", "le")
    return {(sample.name, *(sample.labels.get(label, "") for label in labels)): sample.value for sample in samples}


async def _ask(url: str, paths: list[str]) -> list[int]:
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        return [response.status_code for response in await asyncio.gather(*(client.get(path) for path in paths))]


async def test_new_ids_and_unknown_paths_make_no_new_series(gateway: Server) -> None:
    unknown = [f"/nowhere/{number}" for number in range(50)]
    documents = [f"/v1/documents/folder/{number}.pdf" for number in range(50)]
    assert await _ask(gateway.url, [unknown[0], documents[0]]) == [404, 503]
    first = _series(gateway)
    assert await _ask(gateway.url, unknown[1:] + documents[1:]) == [404] * 49 + [503] * 49
    later = _series(gateway)

    assert first.keys() == later.keys()
    totals = {(endpoint, status): value for (name, endpoint, status, _), value in later.items() if name == f"{METRIC}_total"}
    assert totals[OTHER, "404"] == totals["/v1/documents/{id}", "503"] == 50


async def test_whatever_is_sent_the_labels_are_routes(gateway: Server) -> None:
    await _ask(gateway.url, STRANGE)
    endpoints = {endpoint for _, endpoint, _, _ in _series(gateway)}

    assert endpoints <= {operation.path for operation in OPERATIONS} | PROBES | {"/", OTHER}
    assert {"/v1/documents/{id}", OTHER} <= endpoints


def test_the_services_still_see_the_path_that_was_sent(gateway: Server) -> None:
    answer = httpx.get(f"{gateway.url}/nowhere", headers={"x-request-id": "seen"})

    assert answer.status_code == 404
    gateway.wait_for_output("path=/nowhere ")


async def test_requests_in_work_are_counted_by_route_and_down_to_none(gateway: Server) -> None:
    await _ask(gateway.url, ["/v1/documents/a", "/nowhere/again"])
    in_work = {endpoint: value for (name, endpoint, *_), value in _series(gateway).items() if name == f"{METRIC}_in_progress"}

    assert in_work["/v1/documents/{id}"] == in_work[OTHER] == 0
