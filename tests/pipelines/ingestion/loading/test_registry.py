import io
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from core.errors import (
    DocumentEmpty,
    DocumentError,
    DocumentTooLarge,
    DocumentUnreadable,
    UnsupportedFormat,
)
from core.schemas import Document
from pipelines.ingestion.loading import SUPPORTED_SUFFIXES, load_bytes, load_file
from pipelines.ingestion.loading.registry import FORMATS
from tests.pipelines.ingestion.loading import making

MINIMAL = {
    ".txt": b"some text",
    ".md": b"# Head\n\nsome text",
    ".markdown": b"some text",
    ".html": b"<p>some text</p>",
    ".htm": b"<p>some text</p>",
    ".jsonl": b'{"_id": "1", "text": "some text"}',
    ".json": b'{"text": "some text"}',
    ".csv": b"a,b\nsome text,1",
    ".tsv": b"a\tb\nsome text\t1",
    ".eml": b"From: a@example.org\n\nsome text",
    ".docx": making.patched(making.word(), "word/document.xml", b"It climbs steeply.", b"some text"),
    ".pptx": making.patched(making.slides(), "ppt/slides/slide1.xml", b"One point", b"some text"),
    ".xlsx": making.workbook(Sheet=[["some text"]]),
    ".epub": making.book("<p>some text</p>"),
}


def write(folder: Path, name: str, content: bytes = b"some text") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", sorted(MINIMAL))
def test_each_suffix_has_a_loader(tmp_path, limits, suffix):
    path = write(tmp_path, f"file{suffix}", MINIMAL[suffix])
    [document] = load_file(path, id="x", limits=limits)
    assert isinstance(document, Document)
    assert "some text" in document.text
    assert document.metadata["source"] == f"file{suffix}"
    assert load_bytes(path.name, MINIMAL[suffix], id="x", limits=limits) == [document]


def test_no_suffix_is_without_a_test():
    assert frozenset(MINIMAL) | {".pdf", ".zip"} == SUPPORTED_SUFFIXES


def test_each_suffix_belongs_to_one_format_with_a_module_of_its_own():
    assert len([suffix for known in FORMATS for suffix in known.suffixes]) == len(SUPPORTED_SUFFIXES)
    for known in FORMATS:
        assert callable(import_module(f"pipelines.ingestion.loading.{known.module}").load)


@pytest.mark.parametrize("known", [known for known in FORMATS if known.name not in {"pdf", "zip"}], ids=lambda known: known.name)
def test_the_name_of_a_format_is_in_the_metadata(limits, known):
    for suffix in known.suffixes:
        [document] = load_bytes(f"file{suffix}", MINIMAL[suffix], id="x", limits=limits)
        assert document.metadata["format"] == known.name


def test_the_case_of_a_suffix_does_not_matter(tmp_path, limits):
    [document] = load_file(write(tmp_path, "README.TXT"), id="x", limits=limits)
    assert document.metadata == {"source": "README.TXT", "format": "text"}


@pytest.mark.parametrize("name", ["file.doc", "file", ".txt", "archive.txt.gz", "file."])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path, limits, name):
    with pytest.raises(UnsupportedFormat, match=r"supported are \.csv, \.docx, \.eml"):
        load_file(tmp_path / name, id="x", limits=limits)
    with pytest.raises(UnsupportedFormat):
        load_bytes(name, b"text", id="x", limits=limits)


@pytest.mark.parametrize("suffix", sorted(SUPPORTED_SUFFIXES))
@pytest.mark.parametrize("content", [b"", b" \n\t\r\n"])
def test_an_empty_file_is_said_to_be_empty(tmp_path, limits, suffix, content):
    with pytest.raises(DocumentEmpty, match="empty"):
        load_file(write(tmp_path, f"void{suffix}", content), id="x", limits=limits)


@pytest.mark.parametrize("suffix", sorted(SUPPORTED_SUFFIXES))
def test_binary_content_under_any_name_is_a_document_error(limits, suffix):
    noise = bytes(range(256)) * 20
    try:
        loaded = load_bytes(f"noise{suffix}", noise, id="x", limits=limits)
    except DocumentError as error:
        assert f"noise{suffix}" in error.message
    else:
        assert suffix == ".jsonl"
        assert {item.error.code for item in loaded} == {"document_unreadable"}


def test_the_size_is_checked_before_anything_is_read(tmp_path, limits):
    path = tmp_path / "sparse.txt"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DocumentTooLarge, match="1099511627776 bytes are above the limit of 2000000"):
        load_file(path, id="x", limits=limits)


def test_a_file_at_the_limit_is_read(tmp_path, limits):
    tight = limits.model_copy(update={"max_file_bytes": 4})
    assert load_file(write(tmp_path, "a.txt", b"four"), id="x", limits=tight)
    with pytest.raises(DocumentTooLarge):
        load_file(write(tmp_path, "b.txt", b"fives"), id="x", limits=tight)
    with pytest.raises(DocumentTooLarge):
        load_bytes("b.txt", b"fives", id="x", limits=tight)


def test_a_file_that_grows_while_it_is_read_is_bounded_as_well(tmp_path, limits):
    class Endless(io.RawIOBase):
        def read(self, size=-1):
            assert size >= 0, "this would never end"
            return b"x" * size

    class Growing(type(tmp_path)):
        def open(self, *_args, **_kwargs):
            return Endless()

    with pytest.raises(DocumentTooLarge, match="grew"):
        load_file(Growing(write(tmp_path, "log.txt")), id="x", limits=limits)


def test_too_long_a_text_is_refused(tmp_path, limits):
    with pytest.raises(DocumentTooLarge, match="500001 characters"):
        load_file(write(tmp_path, "long.txt", b"x" * 500_001), id="x", limits=limits)


def vanished(folder: Path) -> Path:
    return folder / "gone.txt"


def directory(folder: Path) -> Path:
    (folder / "folder.txt").mkdir()
    return folder / "folder.txt"


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.txt")
    return folder / "pipe.txt"


def endless_device(folder: Path) -> Path:
    (folder / "zero.txt").symlink_to("/dev/zero")
    return folder / "zero.txt"


def symlink_loop(folder: Path) -> Path:
    (folder / "one.txt").symlink_to(folder / "two.txt")
    (folder / "two.txt").symlink_to(folder / "one.txt")
    return folder / "one.txt"


def dangling_symlink(folder: Path) -> Path:
    (folder / "dangling.txt").symlink_to(folder / "nowhere.txt")
    return folder / "dangling.txt"


def below_a_file(folder: Path) -> Path:
    return write(folder, "file.txt") / "child.txt"


def nul_in_the_name(folder: Path) -> Path:
    return folder / "nul\x00.txt"


def too_long_a_name(folder: Path) -> Path:
    return folder / ("n" * 5_000 + ".txt")


@pytest.mark.parametrize(
    "make",
    [vanished, directory, fifo, endless_device, symlink_loop, dangling_symlink, below_a_file, nul_in_the_name, too_long_a_name],
)
def test_what_is_no_readable_file_is_unreadable(tmp_path, limits, make):
    with pytest.raises(DocumentUnreadable):
        load_file(make(tmp_path), id="x", limits=limits)


def test_a_file_without_permission_is_unreadable(tmp_path, limits):
    path = write(tmp_path, "secret.txt")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(DocumentUnreadable, match="Permission denied"):
        load_file(path, id="x", limits=limits)


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file"), PermissionError(13, "Permission denied")], ids=["vanished", "forbidden"])
def test_a_file_that_changes_between_look_and_read_is_unreadable(tmp_path, limits, error):
    class Changing(type(tmp_path)):
        def open(self, *_args, **_kwargs):
            raise error

    with pytest.raises(DocumentUnreadable, match=rf"file\.txt: can't be read: {error.strerror}"):
        load_file(Changing(write(tmp_path, "file.txt")), id="x", limits=limits)


def test_a_name_that_is_no_unicode_is_made_printable(tmp_path, limits):
    path = write(tmp_path, os.fsdecode(b"caf\xe9\nmenu.txt"), b"x" * 200)
    [document] = load_file(path, id="x", limits=limits)
    assert document.metadata["source"] == "caf\ufffd menu.txt"
    assert document.title == "caf\ufffd menu"


@pytest.mark.parametrize("identifier", ["", "a\nb", "x" * 513, "\udce9"])
def test_an_id_that_is_none_is_unreadable(limits, identifier):
    with pytest.raises(DocumentUnreadable, match="id: "):
        load_bytes("a.txt", b"text", id=identifier, limits=limits)


def test_loading_works_in_another_process(tmp_path, limits):
    good = write(tmp_path, "lines.jsonl", b'{"_id": "1", "text": "one"}\nbroken\n')
    bad = tmp_path / "gone.txt"
    # spawn: a forked child would inherit the threads of other tests' tokenizers
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        loaded = list(pool.map(partial(load_file, id="x", limits=limits), [good]))
        failure = pool.submit(load_file, bad, id="x", limits=limits).exception()
    assert loaded == [load_file(good, id="x", limits=limits)]
    assert isinstance(failure, DocumentUnreadable)
    assert "gone.txt" in failure.message


def test_the_same_file_gives_the_same_document(tmp_path, limits):
    path = write(tmp_path, "a.txt")
    first = load_file(path, id="x", limits=limits)
    os.utime(path, (1, 1))
    assert load_file(path, id="x", limits=limits) == first
    assert pickle.loads(pickle.dumps(first)) == first
