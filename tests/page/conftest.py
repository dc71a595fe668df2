from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import tests.services.conftest  # noqa: F401 - loads BentoML past the warnings of its imports
from tests.page.browser import chromium, watched
from tests.page.fake_gateway import FakeGateway, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[FakeGateway, str]]:
    gateway = FakeGateway()
    with serving(gateway.app()) as url:
        yield gateway, url


@pytest.fixture
def gateway(shared: tuple[FakeGateway, str]) -> FakeGateway:
    shared[0].__init__()  # type: ignore[misc]  # each test begins with a new one behind the same port
    return shared[0]


@pytest.fixture
def url(shared: tuple[FakeGateway, str]) -> str:
    return shared[1]


@pytest.fixture
def page(browser: "Browser", gateway: FakeGateway, url: str) -> Iterator["Page"]:
    with watched(browser, url) as opened:
        opened.goto("/")
        yield opened
