import io
import stat
import zipfile

import pytest

from core.errors import DocumentEmpty, DocumentTooLarge
from core.schemas import FieldMap
from pipelines.ingestion.loading import load_bytes
from tests.pipelines.ingestion.loading import making


def load(files: dict[str, str | bytes] | bytes, limits, **more):
    content = files if isinstance(files, bytes) else making.zipped(files)
    return load_bytes("papers.zip", content, id="z", limits=limits, **more)


def test_every_file_becomes_documents_named_by_its_path(limits):
    loaded = load({"a/b.md": "# Head\n\ntext", "lines.jsonl": '{"_id": "own", "text": "t"}\nbroken', "c.docx": making.word()}, limits)
    assert [item.id for item in loaded] == ["z/a/b.md", "own", "z/lines.jsonl:2", "z/c.docx"]
    assert loaded[0].title == "Head"
    assert loaded[0].metadata == {"source": "papers.zip/a/b.md", "format": "markdown"}


def test_what_cannot_be_loaded_fails_alone_and_in_its_place(limits):
    loaded = load({"a.exe": "x", "b.pdf": "broken", "c.txt": "text", "d.txt": " ", "e": "x"}, limits)
    assert [item.id for item in loaded] == ["z/a.exe", "z/b.pdf", "z/c.txt", "z/d.txt", "z/e"]
    codes = [item.error.code if item.id != "z/c.txt" else None for item in loaded]
    assert codes == ["unsupported_format", "document_unreadable", None, "document_empty", "unsupported_format"]
    assert all(f"papers.{item.id.replace('z/', 'zip/')}" in item.error.message for item in loaded if item.id != "z/c.txt")


def test_furniture_is_passed_over(limits):
    files = {"a/": "", "__MACOSX/a/._b.txt": "x", ".DS_Store": "x", "a/.git/config": "x", "a/b.txt": "text"}
    assert [item.id for item in load(files, limits)] == ["z/a/b.txt"]


@pytest.mark.parametrize("name", ["../a.txt", "a/../../b.txt", "/etc/a.txt", "C:\\a.txt", "c:a.txt", "..\\a.txt", "\\\\host\\a.txt", "a.txt\x00.exe"])
def test_a_path_that_leads_out_is_refused(limits, name):
    content = making.zipped({"N" * len(name): "text", "good.txt": "text"}).replace(b"N" * len(name), name.encode())
    bad, good = load(content, limits)
    assert bad.error.code == "document_unreadable"
    assert "leads out" in bad.error.message
    assert good.id == "z/good.txt"


def test_a_link_is_refused(limits):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        link = zipfile.ZipInfo("link.txt")
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    [result] = load(target.getvalue(), limits)
    assert result.error.code == "document_unreadable"
    assert "symbolic link" in result.error.message


def test_an_encrypted_member_is_encrypted_and_the_rest_is_read(limits):
    content = bytearray(making.zipped({"secret.txt": "text", "open.txt": "text"}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    secret, read = load(bytes(content), limits)
    assert secret.error.code == "document_encrypted"
    assert read.text == "text"


def test_two_members_of_one_name_are_told_apart(limits):
    content = making.zipped({"a.txt": "one", "b.txt": "two"}).replace(b"b.txt", b"a.txt")
    assert [(item.id, item.text) for item in load(content, limits)] == [("z/a.txt", "one"), ("z/a.txt#2", "two")]


def test_a_name_in_utf8_without_the_flag_for_it_is_read(limits):
    content = bytearray(making.zipped({"Zürich.txt": "text"}))
    content[7] &= ~0x08
    content[content.index(b"PK\x01\x02") + 9] &= ~0x08
    [document] = load(bytes(content), limits)
    assert document.id == "z/Zürich.txt"


def test_fields_are_handed_on(limits):
    [document] = load({"a.jsonl": '{"k": 1, "body": "t"}'}, limits, fields=FieldMap(id="k", text="body"))
    assert (document.id, document.text) == ("1", "t")


def test_archives_in_archives_end_at_three(limits):
    content = making.zipped({"deep.txt": "text"})
    for _ in range(2):
        content = making.zipped({"in.zip": content})
    assert [item.id for item in load(content, limits)] == ["z/in.zip/in.zip/deep.txt"]
    [result] = load({"in.zip": content}, limits)
    assert (result.id, result.error.code) == ("z/in.zip/in.zip/in.zip", "document_unreadable")


def test_files_in_all_archives_count_together(limits):
    inner = making.zipped({f"{n}.txt": "x" for n in range(20)})
    loaded = load({f"{n}.zip": inner for n in range(3)}, limits)
    assert [item.id for item in loaded if hasattr(item, "error")] == ["z/2.zip"]
    assert len(loaded) == 41
    with pytest.raises(DocumentTooLarge, match=r"holds 51 files where 50 more are allowed \(ingestion\.max_archive_files\)"):
        load({f"{n}.txt": "x" for n in range(51)}, limits)


def test_bytes_in_all_archives_count_together(limits):
    inner = making.zipped({"big.txt": "x" * 400_000})
    loaded = load({f"{n}.zip": inner for n in range(12)}, limits)
    codes = [item.error.code if hasattr(item, "error") else None for item in loaded]
    assert codes[:9] == [None] * 9
    assert set(codes[10:]) == {"document_too_large"}


def test_a_bomb_costs_no_more_than_one_file_may(limits):
    loaded = load({"bomb.txt": b"\0" * 3_000_000, "good.txt": "text"}, limits)
    assert loaded[0].error.code == "document_too_large"
    assert "ingestion.max_file_bytes" in loaded[0].error.message
    assert loaded[1].text == "text"


def test_members_that_share_their_bytes_are_refused(limits):
    content = bytearray(making.zipped({f"{n}.txt": "x" * 90_000 for n in range(3)}))
    for place in [place for place in range(len(content)) if content[place : place + 4] == b"PK\x01\x02"][1:]:
        content[place + 42 : place + 46] = bytes(4)
    loaded = load(bytes(content), limits)
    assert {item.error.code for item in loaded[1:]} == {"document_unreadable"}


def test_a_member_with_too_long_an_id_fails_alone(limits):
    loaded = load({f"{'x' * 520}.txt": "text", "a.txt": "text"}, limits)
    assert loaded[0].error.code == "document_unreadable"
    assert loaded[1].id == "z/a.txt"


@pytest.mark.parametrize("files", [{}, {".hidden": "x"}, {"folder/": ""}])
def test_an_archive_without_files_is_empty(limits, files):
    with pytest.raises(DocumentEmpty, match="no files"):
        load(files, limits)
