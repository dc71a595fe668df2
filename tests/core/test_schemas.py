import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.schemas import MAX_QUESTION_CHARS, AddRequest, AnswerRequest, Document, DocumentRef, Range, SearchRequest

REQUESTS = [(AnswerRequest, "question"), (SearchRequest, "query")]

keys = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters='"'), min_size=1, max_size=20)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts
ranges = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), scalars, min_size=1)
filters = st.dictionaries(keys, scalars | st.lists(scalars, min_size=1, max_size=5) | ranges, max_size=5)


def _kinds(value: object) -> object:
    """`value` with the type of every scalar in it: True and 1 are equal, but not of a kind."""
    if isinstance(value, dict):
        return {key: _kinds(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_kinds(one) for one in value]
    return type(value).__name__, value


@pytest.mark.parametrize(("model", "field"), REQUESTS)
@given(filters=filters)
def test_filters_survive_the_wire_with_their_types(model: type[SearchRequest], field: str, filters: dict[str, Any]) -> None:
    request = model.model_validate_json(json.dumps({field: "x", "filters": filters}))
    back = model.model_validate_json(request.model_dump_json())
    assert back == request
    expected = {key: Range.model_validate(value) if isinstance(value, dict) else value for key, value in filters.items()}
    sent = {key: value.model_dump(exclude_unset=True) if isinstance(value, Range) else value for key, value in request.filters.items()}
    assert set(expected) == set(sent)
    assert _kinds(sent) == _kinds(filters)


@pytest.mark.parametrize(("model", "field"), REQUESTS)
@pytest.mark.parametrize(
    "change",
    [
        {"top_k": 0},
        {"top_k": 101},
        {"top_k": "5"},
        {"top_k": 5.0},
        {"top_k": True},
        {"mode": "magic"},
        {"unknown": 1},
        {"collections": []},
        {"collections": "default"},
        {"collections": ["../x"]},
        {"collections": ["a\n"]},
        {"collections": ["x" * 65]},
        {"collections": ["a"] * 65},
        {"filters": []},
        {"filters": {"": 1}},
        {"filters": {'a"b': 1}},
        {"filters": {"a\x00": 1}},
        {"filters": {"a": None}},
        {"filters": {"a": []}},
        {"filters": {"a": [[1]]}},
        {"filters": {"a": {}}},
        {"filters": {"a": {"eq": 1}}},
        {"filters": {"a": {"gt": None}}},
        {"filters": {"a": {"gt": [1]}}},
        {"filters": {"a": math.nan}},
        {"filters": {"a": {"lt": math.inf}}},
        {"filters": {str(number): 1 for number in range(17)}},
        {"filters": {"a": [1] * 1001}},
        {"rerank": 0},
        {"rerank": "false"},
        {"rerank": None},
    ],
    ids=str,
)
def test_a_request_with_a_wrong_option_is_refused(model: type[SearchRequest], field: str, change: dict[str, object]) -> None:
    (key,) = change
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps({field: "x"} | change))
    assert {fault["loc"][0] for fault in caught.value.errors()} == {key}


@pytest.mark.parametrize(("model", "field"), REQUESTS)
@pytest.mark.parametrize("question", ["", " \n ", None, 5, ["x"], "x" * 100_000, "x" * (MAX_QUESTION_CHARS + 1)], ids=lambda value: repr(value)[:20])
def test_a_request_without_a_question_of_a_bearable_length_is_refused(model: type[SearchRequest], field: str, question: object) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps({field: question}))
    assert [fault["loc"] for fault in caught.value.errors()] == [(field,)]


@pytest.mark.parametrize(("model", "field"), REQUESTS)
def test_a_question_is_stripped_and_may_be_as_long_as_the_limit(model: type[SearchRequest], field: str) -> None:
    question = "é" * MAX_QUESTION_CHARS
    assert getattr(model.model_validate_json(json.dumps({field: f"  {question}\n"})), field) == question


@pytest.mark.parametrize("change", [{"debug": 1}, {"debug": "true"}, {"stream": "true"}, {"query": "x"}], ids=str)
def test_an_answer_is_asked_for_in_strict_types(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AnswerRequest.model_validate_json(json.dumps({"question": "x"} | change))


@given(keys.filter(str.strip), texts, texts.filter(str.strip), st.dictionaries(keys, scalars, max_size=3))
def test_a_document_survives_the_wire_and_keeps_its_hash(identifier: str, title: str, text: str, metadata: dict[str, Any]) -> None:
    document = Document.model_validate_json(json.dumps({"id": identifier, "title": title, "text": text, "metadata": metadata}))
    back = Document.model_validate_json(document.model_dump_json())
    assert (back, back.hash_content()) == (document, document.hash_content())
    assert _kinds(back.metadata) == _kinds(metadata)


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"id": "a\x00b"},
        {"id": "a\n"},
        {"id": "x" * 513},
        {"id": 5},
        {"text": ""},
        {"text": " \n\t"},
        {"text": None},
        {"text": "a lone \ud800 surrogate"},
        {"title": "a lone \ud800 surrogate"},
        {"title": "x" * 1001},
        {"metadata": {"a": None}},
        {"metadata": {"a": [1]}},
        {"metadata": {"a": {"b": 1}}},
        {"metadata": {"a": math.nan}},
        {"metadata": {"a": -math.inf}},
        {"metadata": {"a": "x" * 4001}},
        {"metadata": {"": 1}},
        {"metadata": {"x" * 129: 1}},
        {"metadata": {str(number): 1 for number in range(65)}},
        {"page_starts": ["x"]},
        {"path": "unknown"},
    ],
    ids=lambda change: repr(change)[:40],
)
def test_a_wrong_document_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Document.model_validate({"id": "a", "text": "b"} | change)


@pytest.mark.parametrize(
    "change",
    [{"title": "T"}, {"text": "c"}, {"metadata": {"k": 1}}, {"metadata": {"k": True}}, {"metadata": {"k": 1.0}}, {"page_starts": [0]}],
    ids=str,
)
def test_the_hash_changes_with_whatever_is_stored(change: dict[str, object]) -> None:
    base = {"id": "a", "text": "b"}
    hashes = {Document.model_validate(base | other).hash_content() for other in ({}, change, {"metadata": {"k": "1"}})}
    assert len(hashes) == 3


def test_the_hash_does_not_depend_on_the_id_or_the_order_of_metadata() -> None:
    first = Document(id="a", text="b", metadata={"x": 1, "y": 2})
    assert Document(id="c", text="b", metadata={"y": 2, "x": 1}).hash_content() == first.hash_content()


@pytest.mark.parametrize("documents", [[], [{}] * 257, "x", None])
def test_a_batch_holds_one_to_256_documents(documents: object) -> None:
    with pytest.raises(ValidationError):
        AddRequest.model_validate({"documents": documents})


def test_an_add_request_leaves_each_document_to_be_looked_at_on_its_own() -> None:
    assert len(AddRequest.model_validate({"documents": [5, {}, {"id": "a", "text": "b"}]}).documents) == 3


def test_wire_types_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        DocumentRef(id="a").id = "b"
