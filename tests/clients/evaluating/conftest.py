from collections.abc import Iterator

import httpx
import pytest

from clients.evaluating import asking, running, stores
from clients.http_client import EkibenClient
from tests.clients.fake_gateway import FakeGateway


@pytest.fixture(autouse=True)
def _fake_gateway(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every client talks to the gateway in memory."""
    for module in (asking, running, stores):
        monkeypatch.setattr(module, "EkibenClient", lambda url, **given: EkibenClient(url, **given, transport=httpx.MockTransport(gateway)))
    yield
