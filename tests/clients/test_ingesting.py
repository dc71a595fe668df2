import io
import os
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from clients import ingesting
from clients.http_client import EkibenClient
from clients.ingesting import SourceFile, find_files, load_all, load_stdin, send_all
from core.errors import Internal
from core.schemas import Document, DocumentResult
from core.settings import load_settings
from tests.clients import deadly_loader
from tests.clients.fake_gateway import FakeGateway

LIMITS = load_settings().ingestion


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.md", "a.txt", "sub/c.HTML", "sub/deep/d.md", ".hidden.md", ".git/e.md", "sub/.f.md", "image.png", "no-suffix"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"Some text of {name}.")
    return tmp_path


def _found(*paths: Path | str) -> list[tuple[str, str]]:
    return [(_kind(one), one.id) for one in find_files(list(map(str, paths)))]


def _kind(one: SourceFile | DocumentResult) -> str:
    return "file" if isinstance(one, SourceFile) else one.error.code if one.error else one.state


def test_a_folder_is_searched_for_supported_files_named_by_their_path_in_it(folder: Path) -> None:
    assert _found(folder) == [("file", name) for name in ("a.txt", "b.md", "sub/c.HTML", "sub/deep/d.md")]


def test_a_file_that_is_named_is_taken_whatever_it_is(folder: Path) -> None:
    assert _found(folder / ".hidden.md", folder / "image.png") == [("file", ".hidden.md"), ("file", "image.png")]
    (loaded,) = load_all([SourceFile(folder / "image.png", "image.png")], LIMITS, 1)
    assert [one.error.code for one in loaded if isinstance(one, DocumentResult) and one.error] == ["unsupported_format"]


def test_a_pattern_is_expanded_and_may_go_deep(folder: Path) -> None:
    assert _found(folder / "*.md") == [("file", "b.md")]
    assert _found(folder / "**/*.md") == [("file", "b.md"), ("file", "d.md")]
    assert _found(folder / "s*") == [("file", "c.HTML"), ("file", "deep/d.md")]


def test_what_does_not_exist_is_a_failed_result(folder: Path) -> None:
    assert _found(folder / "nothing.md", folder / "*.pdf") == [
        ("document_unreadable", str(folder / "nothing.md")),
        ("document_unreadable", str(folder / "*.pdf")),
    ]


def test_a_file_named_twice_is_taken_once(folder: Path) -> None:
    assert _found(folder / "b.md", folder / "b.md", folder) == [("file", name) for name in ("b.md", "a.txt", "sub/c.HTML", "sub/deep/d.md")]


def test_two_files_with_one_id_do_not_replace_each_other(folder: Path) -> None:
    (folder / "sub/b.md").write_text("Another text.")
    assert _found(folder / "b.md", folder / "sub/b.md") == [("file", "b.md"), ("invalid_request", "b.md")]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(folder: Path) -> None:
    (folder / "[b].md").write_text("Brackets.")
    assert _found(folder / "[b].md") == [("file", "[b].md")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_can_not_be_read_is_a_failed_result(folder: Path) -> None:
    (folder / "sub").chmod(0)
    try:
        assert ("document_unreadable", str(folder / "sub")) in _found(folder)
    finally:
        (folder / "sub").chmod(0o755)


def test_what_can_not_be_read_is_a_failed_result_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("Some text.")
    (tmp_path / "broken.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    files = [one for one in find_files([str(tmp_path)]) if isinstance(one, SourceFile)]
    loaded = [one for documents in load_all(files, LIMITS, 1) for one in documents]
    assert [(one.id, one.error.code if isinstance(one, DocumentResult) and one.error else None) for one in loaded] == [
        ("broken.txt", "document_unreadable"),
        ("good.txt", None),
        ("pipe.txt", "document_unreadable"),
    ]


def test_parallel_loading_gives_what_serial_loading_gives_in_order(tmp_path: Path) -> None:
    files = [SourceFile(tmp_path / f"{number}.txt", f"{number}.txt") for number in range(20)]
    for file in files:
        file.path.write_text(f"Text of {file.id}." if file.id != "7.txt" else "")
    assert list(load_all(files, LIMITS, 2)) == list(load_all(files, LIMITS, 1))


def test_a_parser_process_that_dies_ends_the_loading_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingesting, "_load", deadly_loader.load)
    files = [SourceFile(tmp_path / f"{number}.txt", f"{number}.txt") for number in range(5)]
    with pytest.raises(Internal, match="--workers 1"):
        list(load_all(files, LIMITS, 2))


@pytest.mark.parametrize(
    ("name", "content", "expected"), [("in.md", b"# T\n\nText.", "T"), ("in.exe", b"x", "unsupported_format"), ("in.txt", b"", "document_empty")]
)
def test_standard_input_is_a_file_with_a_given_name(monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, expected: str) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    (loaded,) = load_stdin(name, LIMITS)
    assert loaded.id == name
    assert (loaded.title if isinstance(loaded, Document) else loaded.error and loaded.error.code) == expected


def test_more_than_the_limit_of_standard_input_is_refused_without_reading_on(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = io.BytesIO(b"x" * 1000)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=endless))
    (loaded,) = load_stdin("in.txt", LIMITS.model_copy(update={"max_file_bytes": 100}))
    assert isinstance(loaded, DocumentResult)
    assert loaded.error is not None
    assert (loaded.error.code, endless.tell()) == ("document_too_large", 101)


def test_batches_are_bounded_by_documents_and_characters() -> None:
    gateway, reported = FakeGateway(), []
    documents = [Document(id=f"s{number}", text="x") for number in range(150)] + [
        Document(id=f"l{number}", text="x" * 400_000) for number in range(5)
    ]
    failed = DocumentResult(id="f", state="failed")
    send_all([*documents[:10], failed, *documents[10:]], EkibenClient(transport=httpx.MockTransport(gateway)), "mine", reported.append)
    assert [len(batch) for batch in gateway.batches] == [64, 64, 24, 2, 1]
    assert all(sum(len(one.text) for one in batch) <= 1_000_000 for batch in gateway.batches)
    assert sorted(result.id for result in reported) == sorted([*(one.id for one in documents), "f"])
    assert {key[0] for key in gateway.stored} == {"mine"}


def test_a_document_above_the_bound_is_sent_alone() -> None:
    gateway = FakeGateway()
    documents = [Document(id="a", text="x"), Document(id="b", text="x" * 2_000_000), Document(id="c", text="x")]
    send_all(documents, EkibenClient(transport=httpx.MockTransport(gateway)), "mine", lambda _: None)
    assert [[one.id for one in batch] for batch in gateway.batches] == [["a"], ["b"], ["c"]]


def test_documents_are_sent_while_others_are_still_loaded() -> None:
    gateway = FakeGateway()

    def loading() -> object:
        for number in range(65):
            yield Document(id=str(number), text="x")
        assert len(gateway.batches) == 1
        yield Document(id="last", text="x")

    send_all(loading(), EkibenClient(transport=httpx.MockTransport(gateway)), "mine", lambda _: None)  # type: ignore[arg-type]
    assert len(gateway.stored) == 66
