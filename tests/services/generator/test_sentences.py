import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.sentences import context_start, sentence_ends, split_sentences

# Pieces that sentence splitters trip over, besides any character.
pieces = st.sampled_from(
    [
        "Dr. Smith said so. ",
        "It rained. ",
        "\n\n",
        "\n",
        "# A heading\n",
        "| a | b |\n",
        "- item\n",
        "東京は首都です。",
        "😀",
        "\r\n",
        "\u2029",
        "e.g. ",
        "Mr",
    ]
)
texts = st.lists(pieces | st.text(max_size=20), max_size=12).map("".join)


@given(texts)
def test_every_sentence_stands_at_its_offsets_trimmed_and_in_order(text: str) -> None:
    reached = 0
    for sentence in split_sentences(text):
        assert text[sentence.start : sentence.end] == sentence.text == sentence.text.strip() != ""
        assert sentence.start >= reached
        reached = sentence.end


@given(texts)
def test_a_text_has_sentences_unless_it_is_blank(text: str) -> None:
    assert bool(split_sentences(text)) == bool(text.strip())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The line is long. It is old, too, they say.", ["The line is long.", "It is old, too, they say."]),
        ("Dr. Smith met Mr. Jones at 5 p.m. on Monday. They took a train.", ["Dr. Smith met Mr. Jones at 5 p.m. on Monday.", "They took a train."]),
        ("新幹線は1964年に開業した。とても速い。東京と大阪を結ぶ。", ["新幹線は1964年に開業した。", "とても速い。", "東京と大阪を結ぶ。"]),
        ("서울역은 큰 역이다. 기차가 매우 많다.", ["서울역은 큰 역이다.", "기차가 매우 많다."]),
        ("# The old line\n\nThe line was opened early.", ["The line was opened early."]),
        ("## The old line\nThe line was opened early.", ["The line was opened early."]),
        ("The line was opened early.\n\n### Later years\n\nThen it was closed again.", ["The line was opened early.", "Then it was closed again."]),
        ("The old line\n\nThe line was opened early.", ["The line was opened early."]),
        ("#1 of all lines is this very line.", ["#1 of all lines is this very line."]),
        ("The line was opened early. | 5 | 6 |", ["The line was opened early."]),
        ("# A heading alone", ["# A heading alone"]),
        ("So it is.", ["So it is."]),
        ("", []),
        (" \n\t ", []),
    ],
)
def test_sentences_are_what_a_reader_takes_for_them(text: str, expected: list[str]) -> None:
    assert [sentence.text for sentence in split_sentences(text)] == expected


@pytest.mark.parametrize(
    ("text", "index", "context"),
    [
        ("The tunnel is long. It was opened in 1988.", 1, "The tunnel is long. "),
        ("The tunnel is long. Trains use it every day.", 1, None),
        ("It was opened in 1988. Trains use it every day.", 0, None),
        ("Honshu is an island. It has a tunnel. This was opened in 1988.", 2, "Honshu is an island. It has a tunnel. "),
        ("Honshu is an island. It has a tunnel. This one is long. It was opened in 1988.", 3, "It has a tunnel. This one is long. "),
        ("The tunnel is long. Italy has longer ones than that.", 1, None),
        ("The tunnel is long. However, it is not the longest one.", 1, "The tunnel is long. "),
    ],
)
def test_a_sentence_that_refers_back_has_the_sentences_before_it_as_context(text: str, index: int, context: str | None) -> None:
    extents = split_sentences(text)
    start = context_start(extents, index)
    assert (None if start is None else text[start : extents[index].start]) == context


@pytest.mark.parametrize(
    ("text", "following", "ends"),
    [
        ("It was opened in 1988.", " Trains", True),
        ("It was opened in 1988", " Trains", False),
        ("It was opened by Dr.", " Smith", False),
        ("It was opened at 5 p.m.", " on", False),
        ("It was opened at 5 p.m.", " Trains", True),
        ("It was opened in 1988. –", " Trains", True),
        ("It was opened in 1988.", " –", False),
        ("It is fast.", " Trains", False),
        ("新幹線は速い。", "東", True),
        ("「新幹線は速い。", "」", False),
        ("", " Trains", False),
    ],
)
def test_a_sentence_ends_where_another_begins(text: str, following: str, ends: bool) -> None:
    assert sentence_ends(text, following) is ends


def test_a_short_text_is_a_sentence_where_it_may_be() -> None:
    assert sentence_ends("It is fast.", " Trains", short=True)
    assert not sentence_ends("...", " Trains", short=True)
