"""Render the sample collection's PDF documents from their text sources.

Every file pdf-source/<folder>/<name>.md becomes documents/<folder>/<name>.pdf.
A source starts with "title:" and "subject:" lines, which become the metadata,
and goes on with a small subset of Markdown: "# " and "## " headings, "- "
list items, and paragraphs of one line each.

The output is deterministic: the creation date is fixed and only the PDF core
fonts are used, so the sources must stay within Latin-1.

Needs the package fpdf2:

    pip install fpdf2
    python data/sample/make_pdfs.py
"""

from datetime import UTC, datetime
from pathlib import Path

from fpdf import FPDF

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "pdf-source"
TARGET = HERE / "documents"
A5 = (148, 210)  # millimetres
CREATED = datetime(2025, 1, 1, tzinfo=UTC)


def read_source(path: Path) -> tuple[dict[str, str], list[str]]:
    """Return the metadata and the non-empty lines of the body."""
    head, _, body = path.read_text(encoding="utf-8").partition("\n\n")
    metadata = {}
    for line in head.splitlines():
        key, _, value = line.partition(":")
        metadata[key.strip()] = value.strip()
    return metadata, [line.strip() for line in body.splitlines() if line.strip()]


class Page(FPDF):
    """An A5 page with the page number at its foot."""

    def footer(self) -> None:
        """Write the page number; called by fpdf2 at each page end."""
        self.set_y(-14)
        self.set_font("Helvetica", size=8)
        self.cell(0, 6, f"Page {self.page_no()}", align="C")


def render(source: Path, target: Path) -> int:
    """Write one PDF and return the number of its pages."""
    metadata, lines = read_source(source)
    pdf = Page(format=A5)
    pdf.set_creation_date(CREATED)
    pdf.set_title(metadata["title"])
    pdf.set_subject(metadata["subject"])
    pdf.set_author("The Ekiben project")
    pdf.set_lang("en-GB")
    pdf.set_margins(16, 16, 16)
    pdf.set_auto_page_break(True, margin=18)
    pdf.add_page()
    for line in lines:
        if line.startswith("# "):
            size, style, height, text = 16, "B", 8, line[2:]
        elif line.startswith("## "):
            pdf.ln(2)
            size, style, height, text = 12, "B", 7, line[3:]
        elif line.startswith("- "):
            size, style, height, text = 10, "", 5, f"\N{MIDDLE DOT} {line[2:]}"
        else:
            size, style, height, text = 10, "", 5, line
        text.encode("latin-1")  # fail early: core fonts hold nothing else
        pdf.set_font("Helvetica" if style else "Times", style=style, size=size)
        pdf.multi_cell(0, height, text, align="L", new_x="LMARGIN", new_y="NEXT")
        pdf.ln(1.5)
    target.parent.mkdir(parents=True, exist_ok=True)
    pdf.output(str(target))
    return pdf.page_no()


def main() -> None:
    """Render every source."""
    for source in sorted(SOURCE.rglob("*.md")):
        target = (TARGET / source.relative_to(SOURCE)).with_suffix(".pdf")
        pages = render(source, target)
        print(f"{target.relative_to(HERE)}: {pages} pages")


if __name__ == "__main__":
    main()
