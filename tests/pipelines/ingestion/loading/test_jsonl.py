import json

import pytest

from core.errors import DocumentEmpty
from core.schemas import Document, FieldMap
from pipelines.ingestion.loading import load_bytes


def load(limits, *lines: object):
    content = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    return load_bytes("notes.jsonl", content, id="sub/notes.jsonl", limits=limits)


def test_a_line_in_the_layout_of_beir_is_a_document(limits):
    [document] = load(limits, {"_id": "d1", "title": "Mikan", "text": "A cat.", "metadata": {"year": 2007}, "lang": "en", "tags": ["x"], "url": None})
    assert document == Document(
        id="d1", title="Mikan", text="A cat.", metadata={"source": "notes.jsonl", "format": "jsonl", "lang": "en", "year": 2007}
    )


def test_id_will_do_for_an_id_and_so_will_a_number(limits):
    assert [item.id for item in load(limits, {"id": "a", "text": "t"}, {"_id": 7, "text": "t"})] == ["a", "7"]


def test_a_line_without_an_id_is_named_by_file_and_line(limits):
    assert [item.id for item in load(limits, b"", {"text": "t"}, {"_id": None, "text": "t"})] == ["sub/notes.jsonl:2", "sub/notes.jsonl:3"]


def test_fields_name_other_keys(limits):
    line = json.dumps({"k": 5, "head": "T", "article": {"body": "x"}}).encode()
    fields = FieldMap(id="k", title="head", text="article.body")
    [document] = load_bytes("notes.jsonl", line, id="n", limits=limits, fields=fields)
    assert (document.id, document.title, document.text) == ("5", "T", "x")
    assert document.metadata == {"source": "notes.jsonl", "format": "jsonl"}


def test_a_documents_own_metadata_wins(limits):
    [document] = load(limits, {"_id": "a", "text": "t", "source": "archive", "format": "x", "metadata": {"format": "markdown"}})
    assert document.metadata == {"source": "archive", "format": "markdown"}


def test_text_and_title_are_normalized(limits):
    [document] = load(limits, b'{"_id": "a", "title": "Cafe\\u0301\\r\\n x", "text": "one\\r\\ntwo \\ud83d"}')
    assert (document.title, document.text) == ("Café x", "one\ntwo \ufffd")


def test_a_bad_line_loses_only_itself(limits):
    loaded = load(limits, {"_id": "a", "text": "t"}, b"{broken", b"", {"_id": "b", "text": "t"})
    assert [item.id for item in loaded] == ["a", "sub/notes.jsonl:2", "b"]
    assert loaded[1].state == "failed"
    assert loaded[1].error.message.startswith("notes.jsonl, line 2: not JSON")


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (b"[1, 2]", "document_unreadable", "a JSON object is expected, not list"),
        (b"null", "document_unreadable", "not NoneType"),
        (b'{"_id": "a"}', "document_unreadable", 'no string under "text"'),
        (b'{"_id": "a", "text": 5}', "document_unreadable", 'no string under "text"'),
        (b'{"_id": true, "text": "t"}', "document_unreadable", "id: "),
        (b'{"_id": "a", "title": ["x"], "text": "t"}', "document_unreadable", "title: "),
        (b'{"_id": "a", "text": "t", "metadata": [1]}', "document_unreadable", '"metadata" has to be an object'),
        (b'{"_id": "a", "text": "t", "metadata": {"x": NaN}}', "document_unreadable", "NaN is no JSON number"),
        (b'{"_id": "a", "text": "t", "x": Infinity}', "document_unreadable", "Infinity is no JSON number"),
        (b'{"_id": "a", "text": "t", "x": 1e999}', "document_unreadable", "metadata.x: "),
        (b'{"_id": "a", "text": "t", "metadata": {"x": {"y": 1}}}', "document_unreadable", "metadata.x: "),
        (b'{"_id": "a", "text": "t", "x": ' + b"9" * 5_000 + b"}", "document_unreadable", "not JSON"),
        (b'{"_id": "a", "text": "t", "x": ' + b"[" * 100_000, "document_unreadable", "not JSON"),
        (b'{"_id": "a", "text": "\xff"}', "document_unreadable", "not JSON"),
        (b'{"_id": "a\\nb", "text": "t"}', "document_unreadable", "id: "),
        (b'{"_id": "a", "text": " \\n"}', "document_empty", '"text" is blank'),
        (b'{"_id": "a", "text": "\\u0000"}', "document_empty", '"text" is blank'),
        (b'{"_id": "a", "text": "' + b"x" * 500_001 + b'"}', "document_too_large", "500001 characters"),
    ],
)
def test_each_fault_of_a_line_is_named(limits, line, code, said):
    [good, bad] = load(limits, {"_id": "good", "text": "t"}, line)
    assert isinstance(good, Document)
    assert (bad.id, bad.error.code) == ("sub/notes.jsonl:2", code)
    assert said in bad.error.message


def test_the_second_line_with_an_id_is_refused_and_names_the_first(limits):
    loaded = load(limits, b"", {"_id": "a", "text": "one"}, {"_id": "a", "text": "two"})
    assert [item.id for item in loaded] == ["a", "sub/notes.jsonl:3"]
    assert "the id 'a' is that of line 2 already" in loaded[1].error.message


def test_windows_line_ends_and_a_byte_order_mark_are_no_fault(limits):
    content = b'\xef\xbb\xbf{"_id": "a", "text": "t"}\r\n{"_id": "b", "text": "t"}\r\n'
    assert [item.id for item in load_bytes("n.jsonl", content, id="n", limits=limits)] == ["a", "b"]
    assert [item.id for item in load(limits, b'{"_id": "c",\r"text": "t"}')] == ["c"]


def test_a_line_separator_inside_a_text_does_not_end_the_line(limits):
    [document] = load(limits, '{"_id": "a", "text": "one\u2028two\u0085three"}'.encode())
    assert document.text == "one\u2028two\u0085three"


def test_only_blank_lines_are_empty(limits):
    with pytest.raises(DocumentEmpty, match="blank lines"):
        load_bytes("n.jsonl", "\ufeff\n \n".encode(), id="n", limits=limits)
