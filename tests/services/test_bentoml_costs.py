"""BentoML's answers and spans: nothing is computed that nobody reads, and what is sampled is still recorded."""

from typing import Any

import pytest
from _bentoml_sdk.io_models import IODescriptor
from bentoml._internal.utils.telemetry import ParentBasedTraceIdRatio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from core.schemas import EmbedResult
from services import bentoml_costs

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0{}"


def _client(rate: float, exporter: InMemorySpanExporter, seen: list[trace.Span]) -> TestClient:
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(rate))
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def pieces(_: object) -> StreamingResponse:
        return StreamingResponse(iter(["a", "b", "c"]))

    app = Starlette(routes=[Route("/", pieces)])
    hook = lambda span, _: seen.append(span.context)  # noqa: E731 - what BentoML's hook asks for
    return TestClient(bentoml_costs.asgi.OpenTelemetryMiddleware(app, server_request_hook=hook, tracer_provider=provider))


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
def test_the_media_type_of_a_list_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def method(self: object) -> list[EmbedResult]: ...

    made = []
    schema = TypeAdapter.json_schema
    monkeypatch.setattr(TypeAdapter, "json_schema", lambda *args, **kwargs: made.append(1) or schema(*args, **kwargs))
    spec = IODescriptor.from_output(method)
    assert [spec.mime_type() for _ in range(3)] == ["application/json"] * 3
    assert len(made) == 1
    texts: Any = IODescriptor.from_output(_text)
    assert texts.mime_type() == "text/plain"


def _text() -> str: ...


def test_nothing_is_recorded_where_nothing_is_sampled() -> None:
    exporter, seen = InMemorySpanExporter(), []
    with _client(0.0, exporter, seen) as client:
        assert client.get("/").text == "abc"
        client.get("/", headers={"traceparent": PARENT.format(0)})
    assert exporter.get_finished_spans() == ()
    assert [found.is_valid for found in seen] == [True, True]
    assert format(seen[1].trace_id, "032x") in PARENT


@pytest.mark.parametrize(("rate", "headers"), [(1.0, {}), (0.0, {"traceparent": PARENT.format(1)})])
def test_what_is_sampled_is_one_span_a_request(rate: float, headers: dict[str, str]) -> None:
    exporter = InMemorySpanExporter()
    with _client(rate, exporter, []) as client:
        client.get("/", headers=headers)
    (span,) = exporter.get_finished_spans()
    assert span.kind == trace.SpanKind.SERVER
