import pytest

from clients.ingesting.syncing import Leftovers
from core.errors import DocumentEmpty, DocumentUnreadable, InvalidRequest
from core.schemas import Document, DocumentResult
from pipelines.ingestion.refusing import refuse

STORED = ("a.txt", "b.txt", "c.txt", "own")


def _failed(id_: str) -> DocumentResult:
    return refuse(id_, DocumentEmpty("empty"))


def _leftovers(*present: str) -> Leftovers:
    leftovers = Leftovers(STORED)
    for id_ in present:
        leftovers.saw_file(id_, [Document(id=id_, text="x")])
    return leftovers


def test_what_was_not_seen_is_left_over_in_the_order_of_the_store() -> None:
    assert _leftovers("new", "b.txt").ids() == ["a.txt", "c.txt", "own"]


def test_documents_with_ids_of_their_own_are_seen() -> None:
    leftovers = _leftovers("b.txt")
    leftovers.saw_file("x.jsonl", [Document(id="own", text="x"), Document(id="a.txt", text="x")])
    assert leftovers.ids() == ["c.txt"]


def test_a_document_whose_file_failed_to_load_is_kept() -> None:
    leftovers = _leftovers("b.txt")
    leftovers.saw_file("a.txt", [_failed("a.txt")])
    assert (leftovers.held_back, leftovers.ids()) == (None, ["c.txt", "own"])


@pytest.mark.parametrize(
    ("file", "failed"), [("x.json", "x.json"), ("x.JSONL", "x.JSONL:3"), ("sub/x.zip", "sub/x.zip/a.png"), ("x.eml", "x.eml/y.pdf")]
)
@pytest.mark.parametrize("is_partial", [False, True])
def test_a_failure_in_a_file_whose_documents_may_have_any_id_holds_all_deletions_back(file: str, failed: str, is_partial: bool) -> None:
    leftovers = _leftovers("b.txt")
    leftovers.saw_file(file, [_failed(failed), *([Document(id="own", text="x")] if is_partial else [])])
    assert leftovers.ids() == []
    assert leftovers.held_back is not None
    assert leftovers.held_back.startswith(file)


@pytest.mark.parametrize("file", ["x.jsonl", "x.zip"])
def test_a_sound_file_of_many_documents_holds_nothing_back(file: str) -> None:
    leftovers = _leftovers()
    leftovers.saw_file(file, [Document(id="own", text="x")])
    assert leftovers.ids() == ["a.txt", "b.txt", "c.txt"]


@pytest.mark.parametrize("file", ["x.zipper", "json", "x.json.txt", "a zip.pdf"])
def test_a_name_that_only_looks_like_such_a_file_holds_nothing_back(file: str) -> None:
    leftovers = _leftovers("b.txt")
    leftovers.saw_file(file, [_failed(file)])
    assert leftovers.held_back is None


def test_a_path_that_can_not_be_read_holds_all_deletions_back() -> None:
    leftovers = _leftovers("b.txt")
    leftovers.saw_path(refuse("missing", DocumentUnreadable("missing: there is no such file or folder")))
    assert (leftovers.held_back, leftovers.ids()) == ("missing could not be read", [])


def test_a_path_without_a_file_holds_all_deletions_back() -> None:
    leftovers = _leftovers("b.txt")
    leftovers.saw_empty_path("mounted")
    assert leftovers.ids() == []
    assert "mounted" in str(leftovers.held_back)


@pytest.mark.parametrize(("id_", "deleted"), [("a.txt", ["c.txt", "own"]), ("a.zip", [])])
def test_a_second_file_with_the_same_id_is_kept_and_holds_back_where_it_may_hold_any_id(id_: str, deleted: list[str]) -> None:
    leftovers = _leftovers("b.txt")
    leftovers.saw_path(refuse(id_, InvalidRequest("the same id")))
    assert leftovers.ids() == deleted


def test_where_everything_failed_nothing_is_deleted() -> None:
    leftovers = _leftovers()
    leftovers.saw_file("z.txt", [_failed("z.txt")])
    assert (leftovers.held_back, leftovers.ids()) == ("no document was found", [])
