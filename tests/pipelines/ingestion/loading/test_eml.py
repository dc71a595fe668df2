import pytest

from core.errors import DocumentError, DocumentUnreadable
from core.schemas import Document
from pipelines.ingestion.loading import load_bytes
from tests.pipelines.ingestion.loading import making

TOP = "From: Ann <ann@example.org>\nTo: bob@example.org\nDate: Mon, 23 Nov 2026 10:00:00 +0000\n\n"


def load(content: bytes, limits):
    return load_bytes("note.eml", content, id="m", limits=limits)


def multipart(depth: int) -> bytes:
    parts = "".join(f'Content-Type: multipart/mixed; boundary="b{level}"\n\n--b{level}\n' for level in range(depth))
    return f"From: a@example.org\n{parts}Content-Type: text/plain\n\nhello\n".encode()


def test_sender_receiver_date_and_plain_text_are_kept(limits):
    [document] = load(making.mail().as_bytes(), limits)
    assert document == Document(
        id="m", title="Grüße aus Köln", text=f"{TOP}Hello Bob,\n\nthe bridge is built.", metadata={"source": "note.eml", "format": "eml"}
    )


def test_html_is_read_where_there_is_no_plain_text(limits):
    content = making.mail().as_bytes().replace(b"Hello Bob,\n\nthe bridge is built.\n", b" \n")
    [document] = load(content, limits)
    assert document.text == f"{TOP}Hello Bob"


def test_attachments_become_documents_of_their_own(limits):
    loaded = load(making.mail(a_txt=b"attached", b_docx=making.word(), c_bin=b"x", d_docx=b"broken").as_bytes(), limits)
    assert [item.id for item in loaded] == ["m", "m/a.txt", "m/b.docx", "m/d.docx"]
    assert loaded[0].metadata["attachments_left_out"] == "c.bin"
    assert loaded[1].text == "attached"
    assert loaded[1].metadata["source"] == "note.eml/a.txt"
    assert loaded[2].headings
    assert loaded[3].error.code == "document_unreadable"


def test_attachments_of_one_name_are_told_apart(limits):
    message = making.mail(a_txt=b"one")
    message.add_attachment(b"two", maintype="text", subtype="plain", filename="a.txt")
    assert [item.id for item in load(message.as_bytes(), limits)] == ["m", "m/a.txt", "m/a.txt#2"]


def test_a_forwarded_mail_is_a_document(limits):
    message = making.mail()
    message.add_attachment(making.mail(a_txt=b"deep"))
    assert [item.id for item in load(message.as_bytes(), limits)] == ["m", "m/message.eml", "m/message.eml/a.txt"]


def test_mails_in_mails_end_at_three(limits):
    message = making.mail()
    for _ in range(4):
        outer = making.mail()
        outer.add_attachment(message)
        message = outer
    *good, last = load(message.as_bytes(), limits)
    assert [item.id.count("message.eml") for item in good] == [0, 1, 2]
    assert "nested more than 3 deep" in last.error.message


def test_an_attachment_in_another_form_of_the_text_is_not_lost(limits):
    content = (
        b"From: a@example.org\nContent-Type: multipart/alternative; boundary=x\n\n--x\nContent-Type: text/plain\n\nplain\n--x\n"
        b"Content-Type: multipart/mixed; boundary=y\n\n--y\nContent-Type: text/html\n\n<p>rich</p>\n--y\n"
        b"Content-Type: text/plain; name=a.txt\nContent-Disposition: attachment\n\nattached\n--y--\n--x--\n"
    )
    assert [item.text for item in load(content, limits)] == ["From: a@example.org\n\nplain", "attached"]


def test_a_path_in_a_file_name_is_cut_off(limits):
    content = making.mail(a_txt=b"attached").as_bytes().replace(b'filename="a.txt"', b'filename="..\\\\..\\\\etc/a.txt"')
    assert [item.id for item in load(content, limits)] == ["m", "m/a.txt"]


@pytest.mark.parametrize(
    ("declared", "body", "text"),
    [
        ("iso-8859-1", "\u201cZug\u201d fährt".encode("cp1252"), "\u201cZug\u201d fährt"),
        ("shift_jis", "駅弁".encode("shift_jis"), "駅弁"),
        ("no-such-charset", "Zug fährt".encode(), "Zug fährt"),
        ("utf-8", "Zug fährt über".encode("cp1252"), "Zug fährt über"),
        ("zlib", b"plain", "plain"),
    ],
)
def test_the_charset_is_what_is_declared_or_else_detected(limits, declared, body, text):
    content = f"From: a@example.org\nContent-Type: text/plain; charset={declared}\nContent-Transfer-Encoding: 8bit\n\n".encode() + body
    [document] = load(content, limits)
    assert document.text == f"From: a@example.org\n\n{text}"


@pytest.mark.parametrize(
    "header",
    [
        b"Date: never",
        b"To: ,,,<<>;(((",
        b'To: "\xff <',
        b"Subject: =?bad?q?x =?utf-8?b?4pyT?=",
        b"To: " + b"(" * 5_000,
        b"Subject: " + b"=?utf-8?q?a?= " * 20_000,
        b"Content-Type: \xff/; ;=",
        b"Content-Type: multipart/mixed",
        b"Content-Type: message/rfc822",
        b"Content-Disposition: attachment; filename*=x'y%ff",
    ],
)
def test_a_broken_header_does_not_lose_the_mail(limits, header):
    loaded = load(b"From: a@example.org\n" + header + b"\n\nhello\n", limits)
    assert loaded[0].text.startswith("From: a@example.org")


def test_a_header_of_twenty_thousand_encoded_words_is_not_decoded(limits):
    [document] = load(b"From: a@example.org\nSubject: " + b"=?utf-8?q?a?= " * 20_000 + b"\n\nhello\n", limits)
    assert document.title.startswith("=?utf-8?q?a?= =?utf-8?q?a?=")


@pytest.mark.parametrize("depth", [20, 500, 5_000])
def test_deeply_nested_parts_are_read_or_refused(limits, depth):
    try:
        [document] = load(multipart(depth), limits)
    except DocumentError as error:
        assert depth > 20
        assert isinstance(error, DocumentUnreadable)
    else:
        assert document.text.endswith("hello")


def test_what_has_no_header_is_no_mail(limits):
    with pytest.raises(DocumentUnreadable, match="not a mail"):
        load(b"\njust text", limits)


def test_a_mail_without_any_text_keeps_its_attachments(limits):
    content = b"X-Other: 1\nContent-Type: text/plain; name=a.txt\nContent-Disposition: attachment\n\nattached"
    empty, attached = load(content, limits)
    assert empty.error.code == "document_empty"
    assert attached.text == "attached"
