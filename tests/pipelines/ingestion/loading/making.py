"""Small real files of every packed format, and the way to spoil them."""

import io
import random
import re
import zipfile
from email.message import EmailMessage
from typing import Any

import docx
import openpyxl
import pptx

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
)
ENTITIES = '<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>'
WRONG = [b"<a/>", b'"-1"', b"99999999999", b"", b'r:id="rIdX"', b"<", b">", b"&#0;", b"\xff", b"../", b"--b", b"=?utf-8?q?x"]
WRONG_VALUES = [b"-1", b"", b"x", b"99999999999999999999", b"rId99", b"1.5", b"/a/b.xml", b"nan", b"2147483648", b"TRUE"]


def saved(document: Any) -> bytes:
    target = io.BytesIO()
    document.save(target)
    return target.getvalue()


def zipped(files: dict[str, str | bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def unzipped(content: bytes) -> dict[str, str | bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def patched(content: bytes, part: str, old: bytes, new: bytes) -> bytes:
    """`content` with `old` replaced in one part, which has to hold it."""
    parts = unzipped(content)
    assert old in parts[part]
    return zipped({**parts, part: parts[part].replace(old, new)})


def word(title: str = "The Hakone line") -> bytes:
    document = docx.Document()
    document.core_properties.title = title
    document.add_heading("Hakone", 0)
    document.add_heading("The climb", 1)
    document.add_paragraph("It climbs steeply.")
    table = document.add_table(2, 2)
    for cell, text in zip(table._cells, ["Year", "Metres", "1919", "445"], strict=True):
        cell.text = text
    document.add_heading("The turns", 2)
    document.add_paragraph("Three of them", "List Bullet")
    return saved(document)


def slides(title: str = "") -> bytes:
    show = pptx.Presentation()
    show.core_properties.title = title
    first = show.slides.add_slide(show.slide_layouts[1])
    first.shapes.title.text = "The first\nslide"
    first.placeholders[1].text = "One point\nAnother"
    first.notes_slide.notes_text_frame.text = "Smile here."
    show.slides.add_slide(show.slide_layouts[6])
    last = show.slides.add_slide(show.slide_layouts[5])
    last.shapes.title.text = "Figures"
    table = last.shapes.add_table(2, 2, 0, 0, 99, 99).table
    for place, text in enumerate(["Year", "Metres", "1919", "445"]):
        table.cell(place // 2, place % 2).text = text
    group = last.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 9, 9).text_frame.text = "In a group"
    return saved(show)


def workbook(**sheets: list[list[object]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in (sheets or {"Lines": [["Line", "km"], ["Hakone", 15]], "Empty": [], "More": [["x"]]}).items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return saved(book)


def book(*chapters: str, title: str = "A book", **more: str | bytes) -> bytes:
    chapters = chapters or ("<html><body><h1>One</h1><p>First text.</p></body></html>", "<html><body><h2>Two</h2><pre>code</pre></body></html>")
    items = "".join(f'<item id="c{n}" href="ch%20{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(len(chapters)))
    order = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<metadata><dc:title>{title}</dc:title></metadata><manifest>{items}</manifest><spine>{order}</spine></package>"
    )
    files = {"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER, "OEBPS/book.opf": package}
    return zipped({**files, **{f"OEBPS/ch {n}.xhtml": chapter for n, chapter in enumerate(chapters)}, **more})


def mail(**attachments: bytes) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "Grüße aus Köln"
    message["From"] = "Ann <ann@example.org>"
    message["To"] = "bob@example.org"
    message["Date"] = "Mon, 23 Nov 2026 10:00:00 +0000"
    message.set_content("Hello Bob,\n\nthe bridge is built.\n")
    message.add_alternative("<p>Hello <b>Bob</b></p>", subtype="html")
    for name, content in attachments.items():
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name.replace("_", "."))
    return message


def examples() -> dict[str, bytes]:
    return {
        ".docx": word(),
        ".pptx": slides(),
        ".xlsx": workbook(),
        ".epub": book(),
        ".eml": mail(a_txt=b"attached", b_docx=word()).as_bytes(),
        ".zip": zipped({"a.txt": "text", "b/c.md": "# x\n\ny", "d.zip": zipped({"e.txt": "x"})}),
        ".csv": b"Name,km\n" + b"Hakone,15\n" * 20,
        ".json": b'{"data": [{"title": "T", "text": "x"}, {"id": "k", "text": "y"}, 3]}',
    }


def spoiled(dice: random.Random, content: bytes) -> bytes:
    """`content` with a few of its bytes changed, lost or doubled."""
    spoiled = bytearray(content)
    for _ in range(dice.choice([1, 3, 10])):
        place = dice.randrange(len(spoiled))
        match dice.randrange(4):
            case 0:
                spoiled[place] = dice.randrange(256)
            case 1:
                del spoiled[place : place + dice.randrange(60)]
            case 2:
                spoiled[place:place] = dice.choice(WRONG)
            case _:
                spoiled[place:place] = spoiled[dice.randrange(len(spoiled)) :][: dice.randrange(80)]
        spoiled = spoiled or bytearray(b" ")
    return bytes(spoiled)


def misled(dice: random.Random, xml: bytes) -> bytes:
    """Well-formed XML with a value, an element or a name that doesn't belong there."""
    values = [match.span(1) for match in re.finditer(rb'="([^"]*)"', xml)]
    elements = [match.span() for match in re.finditer(rb"<[^<>/]+/>", xml)]
    if values and dice.random() < 0.5:
        start, end = dice.choice(values)
        return xml[:start] + dice.choice(WRONG_VALUES) + xml[end:]
    if elements:
        start, end = dice.choice(elements)
        return xml[:start] + xml[start:end] * dice.choice([0, 0, 3]) + xml[end:]
    return xml


def spoiled_inside(dice: random.Random, content: bytes) -> bytes:
    """An archive whose parts are spoiled or missing, while the archive itself is whole."""
    parts = unzipped(content)
    for _ in range(dice.choice([1, 1, 3])):
        name = dice.choice(list(parts))
        match dice.randrange(4):
            case 0 if len(parts) > 1:
                del parts[name]
            case 1 if parts[name]:
                parts[name] = spoiled(dice, parts[name])
            case _:
                parts[name] = misled(dice, parts[name])
    return zipped(parts)
