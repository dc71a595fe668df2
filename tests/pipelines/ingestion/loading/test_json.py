import json

import pytest

from core.errors import DocumentEmpty, DocumentError, DocumentTooLarge, DocumentUnreadable
from core.schemas import Document, FieldMap
from pipelines.ingestion.loading import load_bytes
from pipelines.ingestion.loading.json import LIST_KEYS


def load(content: object, limits, **fields: str):
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return load_bytes("notes.json", raw, id="sub/notes.json", limits=limits, fields=FieldMap(**fields))


def test_an_object_is_a_document(limits):
    [document] = load({"title": "Mikan", "text": "A cat.", "lang": "en", "metadata": {"year": 2007}, "data": ["no document"]}, limits)
    assert document == Document(
        id="sub/notes.json", title="Mikan", text="A cat.", metadata={"source": "notes.json", "format": "json", "lang": "en", "year": 2007}
    )


@pytest.mark.parametrize("wrap", [lambda records: records, *(lambda records, key=key: {"count": 2, key: records} for key in LIST_KEYS)])
def test_a_list_of_objects_is_as_many_documents(limits, wrap):
    loaded = load(wrap([{"id": "a", "text": "one"}, {"text": "two"}]), limits)
    assert [(item.id, item.text) for item in loaded] == [("a", "one"), ("sub/notes.json#2", "two")]


def test_a_bad_record_fails_alone(limits):
    loaded = load([{"id": "a", "text": "t"}, 3, {"id": "a", "text": "u"}, {"id": "b"}, {"id": "c", "text": "t"}], limits)
    assert [item.id for item in loaded] == ["a", "sub/notes.json#2", "sub/notes.json#3", "sub/notes.json#4", "c"]
    assert [item.error.message for item in loaded[1:4]] == [
        "notes.json, number 2: a JSON object is expected, not int",
        "notes.json, number 3: the id 'a' is that of number 1 already; give each its own",
        'notes.json, number 4: there is no string under "text"; name the key that holds the text (fields: text)',
    ]


def test_fields_are_found_along_their_paths(limits):
    record = {"meta": {"key": 7}, "headline": "T", "article": {"body": "x"}, "text": "not this", "kept": "yes"}
    [document] = load(record, limits, id="meta.key", title="headline", text="article.body")
    assert (document.id, document.title, document.text) == ("7", "T", "x")
    assert document.metadata == {"source": "notes.json", "format": "json", "kept": "yes"}


def test_a_key_with_a_dot_in_it_comes_before_a_path(limits):
    [document] = load({"a.b": "whole", "a": {"b": "path"}}, limits, text="a.b")
    assert document.text == "whole"


@pytest.mark.parametrize("path", ["article.none", "article.body.more", "none", "article", ".", "..", "article."])
def test_a_path_to_no_text_is_named(limits, path):
    with pytest.raises(DocumentUnreadable) as caught:
        load({"article": {"body": "x"}}, limits, text=path)
    assert f'no string under "{path}"' in caught.value.message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_encodings_are_told_apart(limits, encoding):
    [document] = load('{"text": "駅弁"}'.encode(encoding), limits)
    assert document.text == "駅弁"


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"{", DocumentUnreadable, "not JSON"),
        (b"[" * 200_000, DocumentUnreadable, "not JSON"),
        (b'{"data":' * 100_000, DocumentUnreadable, "not JSON"),
        (b'{"text": "\xff"}', DocumentUnreadable, "not JSON"),
        (b'{"text": "t", "x": NaN}', DocumentUnreadable, "NaN is no JSON number"),
        (b"9" * 5_000, DocumentUnreadable, "not JSON"),
        (b"3", DocumentUnreadable, "an object is expected"),
        (b'{"rows": 3}', DocumentUnreadable, "no string under"),
        (b"[]", DocumentEmpty, "empty list"),
        (b'{"data": []}', DocumentEmpty, "empty list"),
        (b'{"text": " "}', DocumentEmpty, "blank"),
        (b'{"text": "' + b"x" * 500_001 + b'"}', DocumentTooLarge, "500001 characters"),
    ],
)
def test_each_fault_of_a_file_is_named(limits, content, error, said):
    with pytest.raises(DocumentError, match=r"notes\.json: ") as caught:
        load(content, limits)
    assert type(caught.value) is error
    assert said.split()[-1] in caught.value.message
