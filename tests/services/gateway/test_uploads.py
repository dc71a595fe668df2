import asyncio
import io
from collections.abc import Iterator

import pytest
from starlette.datastructures import UploadFile

from core.schemas import Document, DocumentResult
from core.settings import load_settings
from services.gateway import uploads
from services.gateway.uploads import FileLoader
from tests.services.gateway import deadly_parser

LIMITS = load_settings().ingestion.model_copy(update={"max_file_bytes": 1000})


@pytest.fixture
def loader() -> Iterator[FileLoader]:
    loader = FileLoader(LIMITS)
    yield loader
    loader.close()


def _file(name: str | None, content: bytes) -> UploadFile:
    return UploadFile(io.BytesIO(content), filename=name, size=len(content))


async def _outcome(loader: FileLoader, name: str | None, content: bytes) -> tuple[str, str]:
    (loaded,) = await loader.load(_file(name, content))
    if isinstance(loaded, Document):
        return loaded.id, loaded.text
    assert isinstance(loaded, DocumentResult)
    assert loaded.error is not None
    return loaded.id, loaded.error.code


async def test_an_upload_is_parsed_by_its_suffix_in_the_other_process(loader: FileLoader) -> None:
    (document,) = await loader.load(_file("notes/bridges.md", b"# Bridges\n\nThe bridge was opened in 1901.\n"))
    assert isinstance(document, Document)
    assert (document.id, document.title, document.metadata["format"]) == ("bridges.md", "Bridges", "markdown")
    assert "The bridge was opened in 1901." in document.text


async def test_what_can_not_be_loaded_is_one_failed_result(loader: FileLoader) -> None:
    assert await _outcome(loader, "a.exe", b"x") == ("a.exe", "unsupported_format")
    assert await _outcome(loader, "a.pdf", b"no PDF at all") == ("a.pdf", "document_unreadable")
    assert await _outcome(loader, "a.txt", b"") == ("a.txt", "document_empty")
    assert await _outcome(loader, None, b"x") == ("unnamed", "unsupported_format")


async def test_too_large_an_upload_is_refused_before_it_is_read(loader: FileLoader) -> None:
    file = UploadFile(io.BytesIO(b""), filename="big.txt", size=1001)
    (result,) = await loader.load(file)
    assert isinstance(result, DocumentResult)
    assert result.error is not None
    assert (result.error.code, "1001" in result.error.message) == ("document_too_large", True)


@pytest.mark.parametrize("name", ["C:\\Users\\me\\a.txt", "/etc/a.txt", "../../a.txt"])
async def test_the_id_is_the_file_name_without_any_folder(loader: FileLoader, name: str) -> None:
    assert await _outcome(loader, name, b"Some text.") == ("a.txt", "Some text.")


async def test_a_file_that_kills_the_parser_is_refused_and_harms_no_other(loader: FileLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_load", deadly_parser.load)
    outcomes = await asyncio.gather(
        _outcome(loader, "a.txt", b"Some text."),
        _outcome(loader, "b.txt", b"die"),
        _outcome(loader, "c.txt", b"Other text."),
        _outcome(loader, "d.txt", b"die"),
        _outcome(loader, "e.txt", b"Last text."),
    )
    assert outcomes == [
        ("a.txt", "Some text."),
        ("b.txt", "document_unreadable"),
        ("c.txt", "Other text."),
        ("d.txt", "document_unreadable"),
        ("e.txt", "Last text."),
    ]
    assert await _outcome(loader, "f.txt", b"One more.") == ("f.txt", "One more.")
