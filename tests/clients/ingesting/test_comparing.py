import pytest

from clients.ingesting.comparing import Comparison, Entry
from clients.ingesting.outcomes import Outcome
from core.errors import DocumentEmpty
from core.schemas import Document, Heading
from pipelines.ingestion.refusing import refuse

DOCUMENT = Document(id="a", title="T", text="Line.", metadata={"k": 1})
STORED = {"a": Entry(DOCUMENT.hash_content(), 7)}


def test_what_is_stored_with_the_same_content_is_not_sent() -> None:
    assert Comparison(STORED).judge(DOCUMENT) == Outcome(id="a", state="unchanged", chunks=7)


@pytest.mark.parametrize(
    "change",
    [{"title": "U"}, {"text": "Other."}, {"metadata": {"k": 2}}, {"page_starts": (0,)}, {"headings": (Heading(start=0, level=1, text="L"),)}],
)
def test_a_change_of_anything_that_is_stored_is_sent(change: dict[str, object]) -> None:
    changed = DOCUMENT.model_copy(update=change)
    comparison = Comparison(STORED)
    assert comparison.judge(changed) == changed
    assert comparison.expect(changed).state == "updated"


def test_content_is_compared_in_the_form_in_which_it_is_stored() -> None:
    comparison = Comparison({"a": Entry(Document(id="a", text="\u00e9\nx").hash_content(), 1)})
    judged = comparison.judge(Document(id="a", text="e\u0301\r\nx"))
    assert isinstance(judged, Outcome)
    assert judged.state == "unchanged"


def test_a_new_document_is_sent_and_expected_to_be_created() -> None:
    new = Document(id="new", text="x")
    comparison = Comparison(STORED)
    assert comparison.judge(new) == new
    assert comparison.expect(new).state == "created"


def test_the_second_document_with_an_id_fails_even_with_the_same_content() -> None:
    comparison = Comparison(STORED)
    comparison.judge(DOCUMENT)
    judged = comparison.judge(DOCUMENT)
    assert isinstance(judged, Outcome)
    assert judged.error is not None
    assert (judged.state, judged.error.code) == ("failed", "invalid_request")


def test_a_failed_load_passes_through() -> None:
    failed = refuse("a", DocumentEmpty("empty"))
    assert Comparison(STORED).judge(failed) == Outcome.of(failed)
