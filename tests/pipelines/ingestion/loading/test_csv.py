import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DocumentUnreadable
from core.schemas import Document
from pipelines.ingestion.loading import load_bytes

STATIONS = [("Gare", "Ville"), ("Été", "Orléans"), ("Hélène", "Nîmes"), ("Paul", "Paris")]
JAPANESE = [("駅名", "距離"), ("新橋", "明治五年に開業"), ("横浜", "新橋から二十九キロ"), ("京都", "明治十年に開業")] * 3


def load(content: bytes, limits, name: str = "train-lines.csv") -> Document:
    [document] = load_bytes(name, content, id="x", limits=limits)
    assert isinstance(document, Document)
    return document


def lines(rows: list[tuple[str, str]], delimiter: str = ",") -> str:
    return "".join(f"{delimiter.join(row)}\r\n" for row in rows)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(limits, name, delimiter):
    content = f'Line{delimiter}"km, all"\nHakone{delimiter}"15,5"\nUsui{delimiter}11\n'.encode()
    assert load(content, limits, name).text == "Line | km, all\nHakone | 15,5\nUsui | 11"


@pytest.mark.parametrize(
    ("rows", "encoding"),
    [(STATIONS, "cp1252"), (STATIONS, "utf-8-sig"), (STATIONS, "utf-16"), (JAPANESE, "shift_jis"), (JAPANESE, "utf-16"), (JAPANESE, "euc_jp")],
)
def test_the_encoding_is_found(limits, rows, encoding):
    assert load(lines(rows).encode(encoding), limits).text == "\n".join(" | ".join(row) for row in rows)


def test_the_whole_file_is_one_table(limits):
    document = load(b"a,b\n1,2\n\n,\n3,\n", limits)
    assert document.text == "a | b\n1 | 2\n3"
    assert [(block.start, block.end, block.kind) for block in document.blocks] == [(0, len(document.text), "table")]
    assert document.title == "train lines"
    assert document.metadata == {"source": "train-lines.csv", "format": "csv"}


def test_a_line_end_inside_a_cell_is_a_space(limits):
    assert load(b'a,b\n"one\ntwo",2\n', limits).text == "a | b\none two | 2"


def test_a_quote_that_never_ends_does_not_swallow_the_rest(limits):
    document = load(b'a,b\n1,"2\n' + b"3,4\n" * 40_000, limits)
    assert document.text.count("\n") == 40_001
    assert document.text.endswith("3 | 4")


def test_a_hundred_thousand_columns_are_one_line(limits):
    document = load(b",".join([b"x"] * 100_000), limits)
    assert document.text == " | ".join(["x"] * 100_000)


def test_what_has_no_cells_says_so(limits):
    with pytest.raises(DocumentUnreadable, match=r"rename it to \.txt"):
        load(b"x" * 200_000, limits)


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters='",;|\ufeff'), min_size=1, max_size=8)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=2, max_size=8))
def test_every_cell_is_kept_in_its_place(limits, rows):
    document = load("".join(",".join(row) + "\n" for row in rows).encode("utf-8-sig"), limits)
    assert [len(line.split(" | ")) for line in document.text.split("\n")] == [3] * len(rows)
