"""The page in a browser, against the real services."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from clients.http_client import EkibenClient
from tests.e2e.conftest import SAMPLE
from tests.page.browser import PHONE, chromium, watched
from tests.page.measures import is_wider_than_its_window
from tests.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ANSWERED_MS = 30_000
COLLECTION = "page-test"
TEXT = "🚂 The 🐱 stationmaster of Kishi was Tama.\r\n<script>document.title = 'broken'</script>\nShe wore a cap."


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: "Browser", server: Server) -> Iterator["Page"]:
    with watched(browser, server.url) as opened:
        opened.set_default_timeout(ANSWERED_MS)
        opened.goto("/")
        yield opened


def _ask(page: "Page", question: str) -> None:
    page.get_by_label("Your question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_role("button", name="Stop").wait_for(state="hidden")


def test_a_question_is_answered_and_its_citations_open_at_the_quote(page: "Page", server: Server) -> None:
    _ask(page, "How much money did the World Bank lend for the first bullet train line?")
    page.get_by_text("Answered from").wait_for()
    assert "80 million US dollars" in page.locator("#answer-text").inner_text()
    quotes = page.locator("#sources blockquote").all_inner_texts()
    assert quotes
    for number, quote in enumerate(quotes, 1):
        page.get_by_role("button", name=f"Open source {number}:").click()
        marked = page.locator("#source-text mark")
        marked.wait_for()
        assert marked.inner_text() == quote
        assert not page.locator("#source-note").inner_text()
        page.keyboard.press("Escape")
    assert page.get_by_role("list", name="Time by stage").get_by_role("listitem").filter(has_text="retrieve").is_visible()


def test_a_question_that_the_documents_do_not_answer_is_told_so_with_what_is_nearest(page: "Page") -> None:
    _ask(page, "What is the boiling point of tungsten hexafluoride?")
    assert page.get_by_text("Not in these documents", exact=True).is_visible()
    assert page.get_by_role("heading", name="Nearest passages").is_visible()


def test_filters_and_collections_narrow_what_is_asked(page: "Page") -> None:
    page.locator("#options > summary").click()
    page.get_by_role("checkbox", name="default").check()
    page.get_by_label("Passages to read").fill("2")
    page.get_by_label("Search by").select_option("lexical")
    page.get_by_role("button", name="Add a filter").click()
    page.get_by_label("Field 1").fill("format")
    page.get_by_label("Value 1").fill("pdf")
    assert page.locator("#options-summary").inner_text() == "default · words · 2 passages · 1 filter"
    _ask(page, "How long is the longest railway tunnel?")
    places = page.locator(".passage .place").all_inner_texts()
    assert len(places) == 2
    assert all(".pdf" in place for place in places)


def test_a_question_that_is_too_much_for_the_server_is_shown_with_code_and_request_id(page: "Page", server: Server) -> None:
    page.locator("#options > summary").click()
    for number in range(1, 18):
        page.get_by_role("button", name="Add a filter").click()
        page.get_by_label(f"Field {number}", exact=True).fill(f"field{number}")
    _ask(page, "Why?")
    fault = page.locator("#fault")
    assert "invalid_request" in fault.inner_text()
    server.wait_for_output(fault.locator("code").last.inner_text())


def test_files_are_uploaded_listed_asked_about_and_deleted(page: "Page", server: Server, client: EkibenClient) -> None:
    page.get_by_role("link", name="Documents").click()
    page.get_by_label("Into the collection").fill(COLLECTION)
    pdf = SAMPLE / "documents/engineering/air-brake.pdf"
    text = {"name": "tama 🐱.txt", "mimeType": "text/plain", "buffer": TEXT.encode()}
    broken = {"name": "broken.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7 nothing"}
    page.locator("#files").set_input_files([text, broken, {"name": pdf.name, "mimeType": "application/pdf", "buffer": pdf.read_bytes()}])
    row = page.locator("#uploads > li")
    row.filter(has_text="Done: 2 new, 1 failed.").wait_for()
    assert "broken.pdf" in row.get_by_role("alert").inner_text()
    assert "document_unreadable" in row.get_by_role("alert").inner_text()

    page.get_by_label("Collection", exact=True).select_option(COLLECTION)
    rows = page.locator("#list > li")
    page.get_by_text("Page 1").wait_for()
    rows.filter(has_text="air-brake.pdf").wait_for()
    rows.filter(has_text=".md").first.wait_for(state="hidden")
    assert rows.count() == 2

    page.get_by_role("link", name="Ask", exact=True).click()
    page.locator("#options > summary").click()
    page.get_by_role("checkbox", name=COLLECTION).check()
    _ask(page, "Who was the stationmaster of Kishi?")
    page.get_by_role("button", name="Source 1:").first.click()
    page.locator("#source-text mark").wait_for()
    stored = client.get("tama 🐱.txt", COLLECTION).text
    assert page.locator("#source-text").evaluate("(text) => text.textContent") == stored
    assert page.locator("#source-text mark").evaluate("(mark) => mark.textContent") in stored
    assert page.locator("#source-text script").count() == 0
    assert page.title() == "Ask · Ekiben"
    page.keyboard.press("Escape")

    page.get_by_role("link", name="Documents").click()
    delete = rows.filter(has_text="air-brake.pdf").get_by_role("button", name="Delete")
    delete.click()
    page.get_by_role("alertdialog").get_by_role("button", name="Cancel").click()
    delete.click()
    page.keyboard.press("Escape")
    assert len(client.list_documents(collection=COLLECTION).documents) == 2
    delete.click()
    page.get_by_role("alertdialog").get_by_role("button", name="Delete").click()
    delete.wait_for(state="detached")
    assert [document.id for document in client.list_documents(collection=COLLECTION).documents] == ["tama 🐱.txt"]

    page.get_by_role("button", name=f"Delete the collection {COLLECTION}").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Delete").click()
    page.get_by_role("button", name=f"Delete the collection {COLLECTION}").wait_for(state="detached")
    assert COLLECTION not in [one.name for one in client.collections()]


def test_a_collection_is_made_once(page: "Page", client: EkibenClient) -> None:
    page.get_by_role("link", name="Documents").click()
    page.get_by_label("New collection").fill("made-here")
    page.get_by_role("button", name="Create").click()
    page.get_by_role("button", name="Delete the collection made-here").wait_for()
    page.get_by_label("New collection").fill("made-here")
    page.get_by_role("button", name="Create").click()
    page.get_by_text("made-here exists already.").wait_for()
    client.delete_collection("made-here")


def test_the_list_is_turned_page_by_page_and_back(page: "Page", client: EkibenClient) -> None:
    everything = [document.title or document.id for document in client.list_documents(limit=1000).documents]
    page.get_by_role("link", name="Documents").click()
    names = page.locator("#list > li button.link")
    page.get_by_text("Page 1").wait_for()
    names.first.wait_for()
    first = names.all_inner_texts()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("Page 2").wait_for()
    second = names.all_inner_texts()
    assert first + second == everything[:50]
    assert len(first) == 25
    page.get_by_role("button", name="Previous").click()
    page.get_by_text("Page 1").wait_for()
    assert names.all_inner_texts() == first


def test_it_fits_a_phone(browser: "Browser", server: Server) -> None:
    with watched(browser, server.url, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        page.goto("/")
        _ask(page, "Who appointed a cat as stationmaster?")
        assert not is_wider_than_its_window(page)
        page.get_by_role("button", name="Source 1:").first.click()
        page.locator("#source-text mark").wait_for()
        assert not is_wider_than_its_window(page)
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Documents").click()
        page.locator("#list > li").first.wait_for()
        assert not is_wider_than_its_window(page)


def test_the_server_answers_with_the_policy_and_by_etag(server: Server) -> None:
    first = httpx.get(server.url + "/")
    again = httpx.get(server.url + "/", headers={"If-None-Match": first.headers["etag"]})
    assert "default-src 'self'" in first.headers["content-security-policy"]
    assert (first.status_code, again.status_code) == (200, 304)
