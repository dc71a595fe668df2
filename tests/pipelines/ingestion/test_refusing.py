import pickle

import pytest
from pydantic import ValidationError

from core.errors import DocumentEmpty
from core.schemas import Document
from pipelines.ingestion.refusing import explain, refuse


def explained(**fields: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Document.model_validate(fields)
    return explain(caught.value)


def test_a_message_names_the_field():
    assert explained(id="a") == "text: Field required"


def test_every_field_at_fault_is_named():
    message = explained(id=1, text=2)
    assert "id: " in message
    assert "text: " in message


def test_an_unknown_field_is_named():
    assert explained(id="a", text="t", body="x").startswith("body: Extra inputs")


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, "x" * 5_000, float("nan")])
def test_a_metadata_value_is_explained_once_and_not_once_a_type(value):
    message = explained(id="a", text="t", metadata={"year": value})
    assert message == "metadata.year: has to be a boolean, a finite number, or a string of at most 4000 characters"


def test_a_metadata_key_is_explained():
    assert explained(id="a", text="t", metadata={'a"b': 1}).startswith("metadata key 'a\"b': String should match")


def test_our_own_rules_are_quoted_without_ceremony():
    assert explained(id="a", text="  ") == "text is empty"


def test_a_message_stays_short():
    assert len(explained(id="a", text="t", **{f"field{n}" * 200: n for n in range(50)})) < 1_000


def test_a_refusal_is_a_failed_result_that_can_be_pickled():
    result = refuse("a", DocumentEmpty("nothing"))
    assert (result.id, result.state, result.error.code) == ("a", "failed", "document_empty")
    assert pickle.loads(pickle.dumps(result)) == result
