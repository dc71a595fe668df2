"""Loads BentoML once, past the warnings of its own imports, which would be errors of every test module that imports it first."""

import warnings
from collections.abc import Iterator

import pytest
from opentelemetry import baggage, context

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import bentoml  # noqa: F401
    from _bentoml_impl.client import proxy2  # noqa: F401


@pytest.fixture
def baggage_of_a_caller() -> Iterator[str]:
    """What BentoML's tracing makes of a `baggage: ekiben.request_id=...` header."""
    token = context.attach(baggage.set_baggage("ekiben.request_id", "inherited"))
    yield "inherited"
    context.detach(token)
