import threading
from pathlib import Path

import pytest

from clients.ingesting.finding import SourceFile, find_files
from clients.ingesting.loading import FILES_AHEAD, load_all
from core.schemas import Document, DocumentResult, FieldMap
from core.settings import load_settings
from pipelines.ingestion.isolating import IsolatedLoader
from pipelines.ingestion.refusing import Loaded

FILES = [SourceFile(Path(f"{number}.txt"), f"{number}.txt") for number in range(40)]


class FakeLoader:
    """Gives one document a file; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, FieldMap]] = []
        self.changed = threading.Condition()

    def load_file(self, path: Path, *, id: str, name: str | None = None, fields: FieldMap) -> list[Loaded]:  # noqa: A002
        with self.changed:
            self.asked.append((id, name, fields))
            self.changed.notify_all()
        return [Document(id=id, text="x")]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_documents_come_in_the_order_of_the_files(workers: int) -> None:
    loaded = [document.id for documents in load_all(FILES, FakeLoader(), workers, FieldMap()) for document in documents]
    assert loaded == [file.id for file in FILES]


@pytest.mark.parametrize("workers", [1, 3])
def test_only_a_bounded_number_of_files_is_loaded_ahead(workers: int) -> None:
    loader = FakeLoader()
    loading = load_all(FILES, loader, workers, FieldMap())
    for taken in range(1, 10):
        next(loading)
        with loader.changed:
            assert loader.changed.wait_for(lambda taken=taken: len(loader.asked) >= taken + workers * FILES_AHEAD - 1, timeout=10)
            assert len(loader.asked) == taken + workers * FILES_AHEAD - 1
    loading.close()


def test_a_file_is_loaded_under_the_name_in_its_id_with_the_fields() -> None:
    loader, fields = FakeLoader(), FieldMap(text="body")
    list(load_all([SourceFile(Path("/somewhere/stdin"), "sub/in.json")], loader, 1, fields))
    assert loader.asked == [("sub/in.json", "in.json", fields)]


def test_what_can_not_be_read_is_a_failed_result_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("Some text.")
    (tmp_path / "broken.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "poison.pdf").write_bytes(b"%PDF-1.7 and nothing")
    files = [one for one in find_files([str(tmp_path)]) if isinstance(one, SourceFile)]
    with IsolatedLoader(load_settings().ingestion, 2) as loader:
        loaded = [one for documents in load_all(files, loader, 2, FieldMap()) for one in documents]
    assert [(one.id, one.error.code if isinstance(one, DocumentResult) and one.error else None) for one in loaded] == [
        ("broken.txt", "document_unreadable"),
        ("good.txt", None),
        ("poison.pdf", "document_unreadable"),
    ]
