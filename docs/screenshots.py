"""Makes the pictures of the page in docs/images, with the sample documents as content.

python -m docs.screenshots URL    of a server that holds them, such as the one of `make run`; needs Chromium at /usr/bin/chromium
"""

import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

FOLDER = Path(__file__).resolve().parent / "images"
CHROMIUM = "/usr/bin/chromium"
QUESTION = "How much was the prize in the 1829 locomotive contest?"
DESKTOP = {"viewport": {"width": 1200, "height": 820}}
SMALLER = {"viewport": {"width": 1040, "height": 640}}
PHONE = {"viewport": {"width": 390, "height": 820}, "is_mobile": True}


def main() -> None:
    """Write every picture."""
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        _picture(browser, "answer", _answered, **DESKTOP)
        _picture(browser, "source-dark", _opened, **SMALLER, color_scheme="dark")
        _picture(browser, "phone", _answered, **PHONE)
        browser.close()


def _picture(browser: Browser, name: str, show: Any, **look: Any) -> None:
    context = browser.new_context(base_url=sys.argv[1], reduced_motion="reduce", **look)
    page = context.new_page()
    page.goto("/")
    show(page)
    page.screenshot(path=FOLDER / f"{name}.png")
    context.close()


def _answered(page: Page) -> None:
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_text("Answered from").wait_for()
    page.mouse.move(0, 0)
    page.evaluate("() => document.activeElement.blur()")


def _opened(page: Page) -> None:
    _answered(page)
    page.get_by_role("button", name="Source 1:").first.click()
    page.locator("#source-text mark").wait_for()


if __name__ == "__main__":
    main()
