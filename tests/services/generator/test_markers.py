import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.markers import Break, Marker, MarkerReader, Token, Word


def read(*pieces: str) -> list[Token]:
    reader = MarkerReader()
    return [token for piece in pieces for token in reader.feed(piece)] + list(reader.finish())


def shown(text: str) -> str:
    return "".join(token.text for token in read(text) if isinstance(token, Word))


def numbers(text: str) -> list[tuple[int, ...]]:
    return [token.numbers for token in read(text) if isinstance(token, Marker)]


pieces = st.sampled_from(
    ["[", "]", "1", "12", ", ", "-", "[1]", "[2, 3]", "【4】", " ", "\n", "word", ".", "新", "。", "[1", "[ 5 ]", "[x]", "é", "a["]
)
texts = st.lists(pieces | st.text(max_size=3), max_size=15).map("".join)


@given(texts, st.data())
def test_how_a_text_is_cut_changes_nothing(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(*parts) == read(text) == read(*text)


@given(texts)
def test_a_token_is_given_only_when_nothing_that_follows_can_change_it(text: str) -> None:
    for end in range(len(text)):
        reader = MarkerReader()
        begun = list(reader.feed(text[:end]))
        assert read(text)[: len(begun)] == begun


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"], exclude_characters="[【［"), max_size=30))
def test_a_text_without_brackets_keeps_its_words(text: str) -> None:
    assert shown(text).split() == text.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1]", [(1,)]),
        ("a [1][3] b", [(1,), (3,)]),
        ("[1, 3;5]", [(1, 3, 5)]),
        ("[2-4] [7–8]", [(2, 3, 4), (7, 8)]),
        ("[4-2]", [(4,)]),
        ("【1】 ［2］ [ 3 ]", [(1,), (2,), (3,)]),
        ("[0] [999999999]", [(0,), (999999999,)]),
        ("[x] [] [1a] [a1] (1) [٣] [-] [,1,] [1,]", []),
        ("[1", []),
        ("see [1, 2", []),
    ],
)
def test_a_marker_is_numbers_in_brackets(text: str, expected: list[tuple[int, ...]]) -> None:
    assert numbers(text) == expected


def test_a_range_of_absurd_size_costs_little() -> None:
    assert len(numbers("[1-999999999]")[0]) <= 101


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It was so [1].", "It was so."),
        ("It was so.[1] And so.[2]", "It was so. And so."),
        ("It was so. [1] And so. [2]", "It was so. And so."),
        ("It was so.[1]And so.", "It was so. And so."),
        ("the [1] tunnel", "the tunnel"),
        ("the tunnel [1](old)", "the tunnel (old)"),
        ("新幹線[1]は速い。[2]東京", "新幹線は速い。東京"),
        ("速い [1]。", "速い。"),
        ("an [old] tunnel, a[b]", "an [old] tunnel, a[b]"),
        ("cut off [1", "cut off"),
        ("cut off [", "cut off"),
        ("a list [1 apple]", "a list [1 apple]"),
    ],
)
def test_what_is_left_reads_as_if_there_had_been_no_marker(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_half_a_marker_is_held_back_until_it_is_none() -> None:
    reader = MarkerReader()
    assert list(reader.feed("so [1")) == [Word("so")]
    assert list(reader.feed(" apple] ")) == [Word(" [1"), Word(" apple]")]


def test_line_breaks_are_kept() -> None:
    assert read("one\n\n two") == [Word("one"), Break(), Break(), Word(" two")]
