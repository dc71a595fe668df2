"""What BentoML computes with every request and nobody reads, cured as the traps in `services.bentoml_runtime` are.

A profiler found them: of an Embedder's CPU under single queries 11 % went into a JSON schema, and of each service's 5 to 14 % into spans that
nobody collects.
"""

import functools

from _bentoml_sdk.io_models import IOMixin
from bentoml._internal.utils import telemetry
from opentelemetry.instrumentation import asgi
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan

from services import bentoml_runtime  # noqa: F401 - guards the version

# BentoML asks pydantic for the schema of a list's type at each answer, to learn that it is JSON.
IOMixin.mime_type = classmethod(functools.cache(IOMixin.mime_type.__func__))  # type: ignore[arg-type]

# Its sampler records each span, sampled or not, because a hook of its own asks the span for `context`, which one that records nothing lacks.
NonRecordingSpan.context = property(NonRecordingSpan.get_span_context)  # type: ignore[attr-defined]
telemetry.ParentBasedTraceIdRatio = lambda rate: ParentBased(TraceIdRatioBased(rate))  # type: ignore[attr-defined]


class _WithoutMessages(asgi.OpenTelemetryMiddleware):
    """No spans of single messages (`http receive`, `http send`), of which a stream has hundreds."""

    __init__ = functools.partialmethod(asgi.OpenTelemetryMiddleware.__init__, exclude_spans=["receive", "send"])


asgi.OpenTelemetryMiddleware = _WithoutMessages  # type: ignore[misc]
