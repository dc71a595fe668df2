"""Every state of a question on the page, against a gateway that says when it says what."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import Internal, InvalidRequest, Overloaded
from core.schemas import DocumentResult, Summary
from tests.page.browser import PHONE, watched
from tests.page.fake_gateway import (
    QUOTE,
    REQUEST_ID,
    TITLE,
    FakeGateway,
    Gate,
    answer,
    cited,
    job,
    retrieved,
    summarized,
)
from tests.page.measures import is_wider_than_its_window, shifted, watch_shifts, weak_contrasts

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

QUESTION = "Who was appointed?"


def expect(locator: Any) -> Any:
    from playwright.sync_api import expect

    return expect(locator)


def ask(page: "Page", question: str = QUESTION) -> None:
    page.get_by_label("Your question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()


def progress(page: "Page", text: str) -> None:
    expect(page.locator("#progress")).to_have_text(text)


def token(text: str) -> tuple[str, dict[str, str]]:
    return "token", {"text": text}


def test_passages_summaries_and_words_appear_as_they_arrive(page: "Page", gateway: FakeGateway) -> None:
    gates = [Gate() for _ in range(4)]
    gateway.stream = [
        *(gates[0], retrieved()),
        *(gates[1], summarized(2), b": keep-alive\n\n", summarized(0)),
        *(gates[2], token("Tama was "), token("appointed <b>in 2007</b>.")),
        *(gates[3], summarized(1), cited(), ("done", answer())),
    ]
    ask(page)
    progress(page, "Searching…")
    summaries = page.locator(".passage .summary")

    gates[0].open()
    progress(page, "Reading 3 passages…")
    expect(page.get_by_role("heading", name="Passages · 3")).to_be_visible()
    assert summaries.all_inner_texts() == ["Being read"] * 3

    gates[1].open()
    progress(page, "Read 2 of 3 passages…")
    assert [text[:9] for text in summaries.all_inner_texts()] == ["Summary 0", "Being rea", "Summary 2"]

    gates[2].open()
    expect(page.locator("#answer-text")).to_have_text("Tama was appointed <b>in 2007</b>.")
    expect(page.locator("#answer-text")).to_have_attribute("aria-busy", "true")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()

    gates[3].open()
    progress(page, "Answered from 2 citations.")
    expect(page.locator("#answer-text")).to_have_text("Tama was appointed in 2007.1 She was a cat.2")
    expect(page.locator("#answer-text")).to_have_attribute("aria-busy", "false")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
    expect(page.get_by_text("Confidence 83 %")).to_be_visible()
    assert page.get_by_role("list", name="Time by stage").get_by_role("listitem").all_inner_texts() == [
        *("retrieve 31 ms", "summarize 240 ms", "compose 91 ms", "verify 2.0 ms", "total 364 ms")
    ]
    assert gateway.asked == [{"question": QUESTION, "mode": "hybrid", "top_k": 5, "filters": {}, "collections": ["default"], "stream": True}]


def test_a_server_without_streams_is_asked_for_the_whole_answer_and_remembered(page: "Page", gateway: FakeGateway) -> None:
    for _ in range(2):
        ask(page)
        progress(page, "Answered from 2 citations.")
    assert [body.get("stream") for body in gateway.asked] == [True, None, None]


def test_a_question_that_is_refused_itself_is_shown_as_refused(page: "Page", gateway: FakeGateway) -> None:
    gateway.refusal = InvalidRequest("filters.year: not like this")
    ask(page)
    box = page.get_by_role("alert").filter(has_text="filters.year: not like this")
    expect(box).to_contain_text("invalid_request")
    expect(box).to_contain_text(REQUEST_ID)
    expect(box.get_by_role("button")).to_have_count(0)
    assert [body.get("stream") for body in gateway.asked] == [True, None]


def test_overload_can_be_tried_again(page: "Page", gateway: FakeGateway) -> None:
    gateway.refusal = Overloaded("16 requests are in work already")
    ask(page)
    progress(page, "Failed.")
    expect(page.locator("#fault")).to_contain_text("overloaded")
    gateway.refusal = None
    page.get_by_role("button", name="Try again").click()
    progress(page, "Answered from 2 citations.")
    expect(page.locator("#fault")).to_be_empty()


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (
            ("error", {"error": {"code": "deadline_exceeded", "message": "too late", "request_id": REQUEST_ID, "retryable": True}}),
            "deadline_exceeded",
        ),
        (b'event: token\ndata: {"text": "cut', "cut_off"),
        (b"event: token\ndata: not json\n\n", "unreadable"),
    ],
)
def test_an_error_midway_leaves_what_arrived_and_says_what_happened(page: "Page", gateway: FakeGateway, last: Any, code: str) -> None:
    gateway.stream = [retrieved(), summarized(0), token("Tama was"), last]
    ask(page)
    expect(page.locator("#fault")).to_contain_text(code)
    expect(page.locator("#answer-text")).to_have_text("Tama was")
    assert [text[:9] for text in page.locator(".passage .summary").all_inner_texts()] == ["Summary 0", "Not read.", "Not read."]


def test_stop_ends_the_request_on_the_server_too(page: "Page", gateway: FakeGateway) -> None:
    gateway.stream = [retrieved(), token("Tama was"), Gate()]
    ask(page)
    progress(page, "Writing…")
    page.get_by_role("button", name="Stop").click()
    progress(page, "Stopped.")
    expect(page.locator("#answer-text")).to_have_text("Tama was")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
    assert gateway.gone.wait(5)


def test_a_new_question_takes_the_place_of_the_one_under_way(page: "Page", gateway: FakeGateway) -> None:
    gateway.stream = [retrieved(), token("Old words"), Gate()]
    ask(page)
    progress(page, "Writing…")
    gateway.stream = [retrieved(1), token("New words"), ("done", answer(1))]
    page.get_by_label("Your question").fill("Another?")
    page.keyboard.press("Enter")
    progress(page, "Answered from 2 citations.")
    expect(page.locator("#asked")).to_have_text("Another?")
    expect(page.locator("#answer-text")).not_to_contain_text("Old")
    assert gateway.gone.wait(5)


def test_words_that_were_written_go_where_the_answer_is_withheld(page: "Page", gateway: FakeGateway) -> None:
    withheld = {"answer": "The documents do not answer this question.", "sentences": (), "citations": (), "confidence": 0.04}
    gateway.stream = [retrieved(), token("A guess"), ("done", answer(abstained=True, **withheld))]
    ask(page)
    progress(page, "Not in these documents.")
    expect(page.locator("#answer-text")).to_contain_text("The documents do not answer this question.")
    expect(page.locator("#answer-text")).not_to_contain_text("A guess")
    expect(page.get_by_role("heading", name="Nearest passages")).to_be_visible()
    expect(page.get_by_text("Confidence 4 %")).to_be_visible()


def test_nothing_found_is_said(page: "Page", gateway: FakeGateway) -> None:
    nothing = {"answer": "The documents do not answer this question.", "sentences": (), "citations": (), "confidence": None}
    gateway.stream = [retrieved(0), ("done", answer(0, abstained=True, **nothing))]
    ask(page)
    progress(page, "Not in these documents.")
    expect(page.get_by_role("heading", name="No passage found")).to_be_visible()
    expect(page.locator("#confidence")).to_be_empty()


def test_what_was_left_out_is_told(page: "Page", gateway: FakeGateway) -> None:
    late = Summary(document_id="d", chunk_id="c", text="", error=Internal("the summary broke").info())
    empty = Summary(document_id="d", chunk_id="c", text="")
    gateway.whole = answer(2, degraded=True, notes=("no summary of cats/0.md#0: too late",), summaries=(late, empty))
    ask(page)
    expect(page.locator("#notes")).to_contain_text("Answered with less than usual")
    expect(page.locator("#notes")).to_contain_text("no summary of cats/0.md#0: too late")
    assert page.locator(".passage .summary").all_inner_texts() == ["Not read: the summary broke (internal)", "Says nothing on the question."]


def test_a_citation_opens_its_document_with_exactly_the_quote_marked(page: "Page", gateway: FakeGateway) -> None:
    ask(page)
    page.get_by_role("button", name=f"Source 1: {TITLE}, page 3").click()
    panel = page.get_by_role("dialog", name=TITLE)
    expect(panel.locator("mark")).to_have_text(QUOTE)
    expect(panel.locator("mark strong")).to_have_text("2007")
    assert page.locator("#source-text").evaluate("(text) => text.textContent") == gateway.text
    expect(panel.locator("mark")).to_be_in_viewport()
    expect(page.locator("blockquote strong")).to_have_text("2007")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=re.compile("^Source 2: .*, not verified$"))).to_be_visible()


@pytest.mark.parametrize(
    ("text", "note", "marked"),
    [
        ("🐟" * 30_000 + QUOTE + "🐟" * 30_000, "found again at another place", [QUOTE]),
        ("Another text.", "no longer in it", []),
    ],
)
def test_a_document_that_has_changed_is_searched_for_the_quote(page: "Page", gateway: FakeGateway, text: str, note: str, marked: list[str]) -> None:
    gateway.text = text
    ask(page)
    page.get_by_role("button", name="Source 1").first.click()
    expect(page.locator("#source-note")).to_contain_text(note)
    assert page.locator("#source-text mark").all_inner_texts() == marked


def test_a_long_document_is_shown_around_the_quote_and_whole_when_asked_for(page: "Page", gateway: FakeGateway) -> None:
    gateway.text = "a" + "🐟" * 15_000 + QUOTE + "b" + "🐟" * 15_000
    ask(page)
    page.get_by_role("button", name="Source 1").first.click()
    shown = page.locator("#source-text")
    expect(shown.locator("mark")).to_have_text(QUOTE)
    assert "\ufffd" not in shown.evaluate("(text) => new TextDecoder().decode(new TextEncoder().encode(text.textContent))")
    page.get_by_role("button", name="Show the text before").click()
    page.get_by_role("button", name="Show the text after").click()
    assert shown.evaluate("(text) => text.textContent") == gateway.text


def test_a_document_that_is_gone_is_told_of_in_the_panel(page: "Page", gateway: FakeGateway) -> None:
    gateway.text = ""
    ask(page)
    page.get_by_role("button", name="Source 1").first.click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("document_not_found")


def test_what_documents_hold_stays_text(page: "Page") -> None:
    ask(page)
    page.locator("#passages details summary").first.click()
    page.get_by_role("button", name="Source 1").first.click()
    expect(page.locator("#source-text mark")).to_be_visible()
    for place, text in (("#source-text", "<script>"), ("#sources", "<img src=x"), ("#passages", "<img src=x"), ("#source-title", "<b>and</b>")):
        expect(page.locator(place)).to_contain_text(text)
        expect(page.locator(place).locator("script, img, b")).to_have_count(0)
    assert page.title() == "Ask · Ekiben"


def test_not_even_the_page_can_make_markup_of_a_string(browser: "Browser", url: str, gateway: FakeGateway) -> None:
    page = browser.new_page()
    page.goto(url)
    script = "() => { try { document.createElement('p').innerHTML = '<b>'; return 'made'; } catch (error) { return error.name; } }"
    assert page.evaluate(script) == "TypeError"
    page.close()


def test_the_whole_journey_goes_by_keyboard(page: "Page") -> None:
    keys = page.keyboard

    def focused() -> str:
        return str(page.evaluate("() => document.activeElement.id || document.activeElement.textContent.trim()"))

    seen = []
    for _ in range(6):
        keys.press("Tab")
        seen.append(focused())
        outlined = "() => [...document.querySelectorAll(':focus, :has(> :focus)')].some((one) => getComputedStyle(one).outlineStyle !== 'none')"
        assert page.evaluate(outlined), f"{seen[-1]} does not show that it has the focus"
    assert seen == ["Skip to content", "Ekiben", "Ask", "Documents", "API", "question"]

    keys.type(QUESTION)
    keys.press("Shift+Enter")
    keys.press("Enter")
    progress(page, "Answered from 2 citations.")
    assert page.get_by_label("Your question").input_value() == QUESTION + "\n"
    while focused() != "1":
        keys.press("Tab")
    keys.press("Enter")
    expect(page.locator("#source-text mark")).to_be_visible()
    assert focused() == "source-text"
    for _ in range(4):  # it does not leave the panel for what lies below
        keys.press("Tab")
        assert page.evaluate("() => document.activeElement === document.body || !!document.activeElement.closest('#source')")
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert focused() == "1"


def test_landmarks_and_names_are_there(page: "Page") -> None:
    ask(page)
    progress(page, "Answered from 2 citations.")
    for role in ("banner", "main"):
        expect(page.get_by_role(role)).to_have_count(1)
    expect(page.get_by_role("navigation", name="Main")).to_be_visible()
    expect(page.get_by_role("region", name=QUESTION)).to_be_visible()
    expect(page.get_by_role("region", name="Passages · 3")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="Answered")).to_be_visible()
    expect(page.locator("#answer-text")).to_have_attribute("aria-live", "polite")
    page.locator("#options > summary").click()
    for role, name in (("group", "Collections"), ("combobox", "Search by"), ("spinbutton", "Passages to read"), ("checkbox", "default")):
        expect(page.get_by_role(role, name=name)).to_be_visible()
    controls = "() => [...document.querySelectorAll('button, input, select, textarea')]"
    unnamed = controls + ".filter((e) => !e.labels?.length && !e.ariaLabel && !e.textContent.trim())"
    assert page.evaluate(unnamed + ".map((e) => e.outerHTML)") == []


LOOKS = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": PHONE, "has_touch": True},
    "dark phone": {"viewport": PHONE, "color_scheme": "dark"},
}


@pytest.fixture(params=LOOKS.values(), ids=LOOKS)
def look(request: pytest.FixtureRequest, browser: "Browser", gateway: FakeGateway, url: str) -> Iterator["Page"]:
    with watched(browser, url, **request.param) as page:
        page.goto("/")
        yield page


def test_every_text_can_be_read_and_nothing_is_wider_than_the_window(look: "Page", gateway: FakeGateway) -> None:
    gateway.whole = answer(degraded=True, notes=("a/very/long/name/" * 12,))
    assert (weak_contrasts(look), is_wider_than_its_window(look)) == ([], False)
    look.locator("#options > summary").click()
    look.get_by_role("button", name="Add a filter").click()
    ask(look)
    progress(look, "Answered from 2 citations.")
    assert (weak_contrasts(look), is_wider_than_its_window(look)) == ([], False)
    look.get_by_role("button", name="Source 1").first.click()
    expect(look.locator("#source-text mark")).to_be_visible()
    assert (weak_contrasts(look), is_wider_than_its_window(look)) == ([], False)
    look.keyboard.press("Escape")
    gateway.refusal = Overloaded("busy")
    look.keyboard.press("Escape")
    ask(look)
    progress(look, "Failed.")
    assert (weak_contrasts(look), is_wider_than_its_window(look)) == ([], False)
    look.get_by_role("link", name="Documents").click()
    expect(look.get_by_role("heading", name="Stored documents")).to_be_visible()
    assert (weak_contrasts(look), is_wider_than_its_window(look)) == ([], False)


def test_dark_is_dark_and_light_is_light(browser: "Browser", url: str, gateway: FakeGateway) -> None:
    brightness = "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((sum, one) => sum + Number(one), 0) / 765"
    for scheme, is_bright in (("light", True), ("dark", False)):
        with watched(browser, url, color_scheme=scheme) as page:
            page.goto("/")
            assert (page.evaluate(brightness) > 0.5) == is_bright


def test_nothing_moves_while_the_answer_arrives(look: "Page", gateway: FakeGateway) -> None:
    gates = [Gate() for _ in range(3)]
    words = [token(f"word{number} ") for number in range(60)]
    gateway.stream = [gates[0], retrieved(5), gates[1], *(summarized(number) for number in range(5)), *words, gates[2], cited(), ("done", answer(5))]
    ask(look)
    progress(look, "Searching…")
    watch_shifts(look)
    for gate, told in zip(gates, ("Reading 5 passages…", "Writing…", "Answered from 2 citations."), strict=True):
        gate.open()
        progress(look, told)
    assert shifted(look) < 0.02


def test_motion_stops_where_it_is_not_wanted_and_only_there(browser: "Browser", url: str, gateway: FakeGateway) -> None:
    for wanted, names in (("reduce", {"none"}), ("no-preference", {"pulse"})):
        gateway.stream = [retrieved(), Gate()]
        with watched(browser, url, reduced_motion=wanted) as page:
            page.goto("/")
            ask(page)
            progress(page, "Reading 3 passages…")
            assert set(page.locator(".lines > span").evaluate_all("(all) => all.map((one) => getComputedStyle(one).animationName)")) == names


FILE = {"name": "a.txt", "mimeType": "text/plain", "buffer": b"text"}


def test_a_job_is_followed_to_its_end_with_the_files_that_failed(page: "Page", gateway: FakeGateway) -> None:
    failed = DocumentResult(id="b.pdf", state="failed", error=InvalidRequest("<b>broken</b>").info())
    gateway.job = job("queued", 0)
    page.get_by_role("link", name="Documents").click()
    row = page.locator("#uploads > li")
    page.locator("#files").set_input_files([FILE])
    expect(row.first).to_contain_text("Waiting… 0 of 3 items")
    gateway.job = job("running", 1)
    expect(row.first).to_contain_text("Reading… 1 of 3 items")
    gateway.job = job("done", 3, (failed,), created=1, unchanged=1, failed=1)
    expect(row.first).to_contain_text("Done: 1 new, 1 unchanged, 1 failed.")
    expect(row.first.get_by_role("alert")).to_have_text("b.pdf: <b>broken</b> invalid_request")


def test_a_job_from_before_the_page_was_opened_is_followed_and_can_be_stopped(page: "Page", gateway: FakeGateway) -> None:
    gateway.job = job("running", 1)
    page.get_by_role("link", name="Documents").click()
    row = page.locator("#uploads > li")
    expect(row.get_by_role("progressbar")).to_have_attribute("value", str(1 / 3))
    row.get_by_role("button", name="Stop").click()
    expect(row).to_contain_text("Stopped: 1 new.")
    assert gateway.cancelled


def test_a_refused_upload_is_told_with_code_and_request_id(page: "Page", gateway: FakeGateway) -> None:
    gateway.refusal = Overloaded("busy")
    page.get_by_role("link", name="Documents").click()
    page.locator("#files").set_input_files([FILE])
    row = page.locator("#uploads > li")
    expect(row).to_contain_text("overloaded")
    expect(row).to_contain_text(REQUEST_ID)
    expect(row.get_by_role("button", name="Try again")).to_be_visible()
