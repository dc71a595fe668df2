import io
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from clients.ingesting.finding import SourceFile, find_files, standard_input
from core.schemas import DocumentResult


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


def test_a_folder_that_can_not_be_listed_is_told_even_where_nothing_else_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(path: str) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refusing)
    assert _found(folder) == [("document_unreadable", str(folder))]


def test_standard_input_is_a_file_as_long_as_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"# T\n\nText.")))
    with standard_input("in.md", 100) as file:
        assert (file.id, file.path.read_bytes()) == ("in.md", b"# T\n\nText.")
    assert not file.path.exists()


def test_no_more_of_standard_input_is_read_than_it_takes_to_refuse_it(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = io.BytesIO(b"x" * 1_000)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=endless))
    with standard_input("in.txt", 100) as file:
        assert file.path.stat().st_size == endless.tell() == 101
