from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.ingestion.stretching import stretches

LONG = st.lists(
    st.tuples(st.sampled_from(["a", "word ", "漢字。", "Sentence. ", "\n", " \n", "\n\n", "\t", " "]), st.integers(1, 30_000)), max_size=6
).map(lambda runs: "".join(unit * times for unit, times in runs))


@given(LONG)
@example("a" * 450_000)
@example(" \n" * 300_000)
def test_only_whitespace_is_left_out_and_order_kept(text):
    reached = 0
    for start, end in stretches(text, (0, len(text))):
        assert reached <= start <= end
        assert not text[reached:start].strip()
        reached = end
    assert reached == len(text)


@given(LONG)
@example("漢" * 300_000)
@example("a\n" * 300_000)
def test_no_stretch_is_slow_to_split(text):
    for start, end in stretches(text, (0, len(text))):
        assert end - start <= 200_000
        assert max(map(len, text[start:end].split("\n"))) < 16_000


@given(st.integers(200, 5_000))
def test_a_long_gap_ends_a_stretch(blanks):
    text = "a" + " \n" * blanks + "b"
    assert [text[start:end] for start, end in stretches(text, (0, len(text)))] == ["a", "b"]


def test_an_ordinary_document_is_one_stretch():
    text = "A paragraph of some length. And so on.\n\n" * 4_000
    assert list(stretches(text, (5, len(text)))) == [(5, len(text))]


def test_a_long_line_is_cut_behind_a_sentence():
    text = "This sentence is of no interest. " * 1_000
    for _, end in list(stretches(text, (0, len(text))))[:-1]:
        assert text[:end].endswith(". ")


def test_a_long_block_is_cut_at_a_blank_line():
    text = ("line\n" * 30 + "\n") * 3_000
    for _, end in list(stretches(text, (0, len(text))))[:-1]:
        assert text[:end].endswith("\n\n")
