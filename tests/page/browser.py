"""A headless Chromium that reports whatever a page does wrong."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}
WAIT_MS = 8_000
# A violation is an event of the document, and only some are told on the console as well.
_REPORT_VIOLATIONS = "addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))"
# Chromium's line for every answer of 400 and above; the page shows those itself.
_ANSWERED_WITH_ERROR = "Failed to load resource: the server responded with a status of"


@contextmanager
def chromium() -> Iterator["Browser"]:
    """The browser; skips the test where there is none. No asyncio test may run meanwhile: playwright's loop counts as running in this thread."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed: pip install playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Faults:
    """What a page did wrong."""

    console: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@contextmanager
def watched(browser: "Browser", url: str, **context: Any) -> Iterator["Page"]:
    """A page whose origin is `url`; fails when it has logged an error, broken its policy or asked another origin for anything."""
    faults = Faults()
    opened = browser.new_context(base_url=url, **{"viewport": DESKTOP, "reduced_motion": "reduce", **context})
    opened.set_default_timeout(WAIT_MS)
    opened.add_init_script(_REPORT_VIOLATIONS)
    page = opened.new_page()
    page.on("request", lambda request: _is_foreign(request.url, url) and faults.foreign.append(request.url))
    page.on("pageerror", lambda error: faults.console.append(str(error)))
    page.on(
        "console",
        lambda said: (
            said.type in ("error", "warning")
            and not said.text.startswith(_ANSWERED_WITH_ERROR)
            and faults.console.append(f"{said.type}: {said.text}")
        ),
    )
    yield page
    opened.close()
    assert faults == Faults()


def _is_foreign(asked: str, own: str) -> bool:
    return urlsplit(asked)[:2] != urlsplit(own)[:2]
