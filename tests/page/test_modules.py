"""The modules that compute, run in the browser."""

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

# As the HTML standard has it: comments, several data lines, no space, CR and CRLF, no data, no end, a character of four bytes.
STREAM = (
    '\ufeff: hello\n\nevent: token\ndata: {"text": "🐱"}\n\n:\r\revent:summary\r\ndata:a\r\ndata: b\r\n\r\nevent: empty\n\ndata\n\n'
    "id: 7\nretry: 10\ndata:  c: d\n\nevent: unfinished\ndata: x\n"
)
EVENTS = [["token", '{"text": "🐱"}'], ["summary", "a\nb"], ["message", ""], ["message", " c: d"]]
_READ = """async ([bytes, cuts]) => {
  const { events } = await import("/page/sse.js");
  const results = [];
  for (const size of cuts) {
    const body = new ReadableStream({ start(controller) {
      for (let at = 0; at < bytes.length; at += size) controller.enqueue(new Uint8Array(bytes.slice(at, at + size)));
      controller.close();
    } });
    const found = [];
    for await (const { name, data } of events(body)) found.push([name, data]);
    results.push(found);
  }
  return results;
}"""


def test_a_stream_is_read_the_same_however_it_is_cut(page: "Page") -> None:
    content = list(STREAM.encode())
    sizes = [*range(1, 24), len(content)]
    assert page.evaluate(_READ, [content, sizes]) == [EVENTS] * len(sizes)


TEXT = "a🐱b👩‍🚒é\u0301日本c"


def test_code_points_become_utf_16_units_at_every_offset(page: "Page") -> None:
    script = "async ([text, offsets]) => { const { indices } = await import('/page/offsets.js'); return indices(text, offsets); }"
    offsets = [*range(len(TEXT), -1, -1), len(TEXT) + 5]
    expected = [len(TEXT[:offset].encode("utf-16-le")) // 2 for offset in offsets]
    assert page.evaluate(script, [TEXT, offsets]) == expected


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], [["a🐱b", False]]),
        ([[11, 12]], [["a", False], ["🐱", True], ["b", False]]),
        ([[12, 13], [10, 11]], [["a", True], ["🐱", False], ["b", True]]),
        ([[10, 12], [11, 13]], [["a🐱", True], ["b", True]]),
        ([[0, 11], [12, 99]], [["a", True], ["🐱", False], ["b", True]]),
        ([[12, 11]], [["a🐱", False], ["b", False]]),
    ],
)
def test_a_text_is_cut_at_spans_of_its_document(page: "Page", spans: list[list[int]], expected: list[Any]) -> None:
    module = "async ([spans]) => { const { cutAt } = await import('/page/offsets.js');"
    script = module + " return cutAt('a🐱b', 10, spans).map((one) => [one.text, one.marked]); }"
    assert page.evaluate(script, [spans]) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("year", "is", "1904")], {"year": 1904}),
        ([("year", "is", '"1904"'), ("open", "is", "true")], {"year": "1904", "open": True}),
        ([("format", "is", "pdf"), ("format", "is", "md")], {"format": ["pdf", "md"]}),
        ([("year", "gte", "1900"), ("year", "lte", "1950.5")], {"year": {"gte": 1900, "lte": 1950.5}}),
        ([("code", "is", "007"), ("", "is", "x"), ("minus", "is", "-1e3")], {"code": "007", "minus": -1000}),
        ([("__proto__", "is", "x")], {"__proto__": "x"}),
        ([("year", "is", "1904"), ("year", "gte", "1900")], None),
    ],
)
def test_filter_rows_become_the_filters_of_the_api(page: "Page", rows: list[tuple[str, str, str]], expected: dict[str, Any] | None) -> None:
    page.locator("#options > summary").click()
    for number, (field, how, value) in enumerate(rows, 1):
        page.get_by_role("button", name="Add a filter").click()
        page.get_by_label(f"Field {number}").fill(field)
        page.get_by_label(f"Comparison {number}").select_option(how)
        page.get_by_label(f"Value {number}").fill(value)
    module = "async () => { const { filters } = await import('/page/filters.js');"
    script = module + " try { return JSON.stringify(filters()); } catch (error) { return error.name; } }"
    found = page.evaluate(script)
    assert found == "RangeError" if expected is None else json.loads(found) == expected
