import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.words import stems
from pipelines.answering.highlighting import asked_for, highlight


def _marked(question: str, quote: str) -> str | None:
    found = highlight(question, quote, dict.fromkeys(stems(question), 1.0))
    return quote[slice(*found)] if found else None


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("Who built the bridge?", "person"),
        ("The bridge was built by whom?", "person"),
        ("What engineer built it?", "person"),
        ("When was it built?", "time"),
        ("In what year was it built?", "time"),
        ("How many arches has it?", "number"),
        ("What is the length of the bridge?", "number"),
        ("Where does it stand?", "place"),
        ("Which city is it in?", "place"),
        ("What is it made of?", None),
        ("What colour has the year's best bridge?", None),
        ("Why was it built?", None),
        ("How was it built?", None),
        ("Name the bridge.", None),
        ("", None),
    ],
)
def test_the_first_asking_word_and_its_noun_tell_what_is_asked(question: str, asked: str | None) -> None:
    assert asked_for(question) == asked


@pytest.mark.parametrize(
    ("question", "quote", "answer"),
    [
        ("When was the tunnel opened?", "The tunnel, 53.85 km long, was opened on 13 March 1988.", "13 March 1988"),
        ("When was the tunnel opened?", "Planned in 1939, the tunnel was opened in 1988 in Japan.", "1988"),
        ("When did it begin?", "It began in the 19th century, after 300 trials.", "19th century"),
        ("How long is the tunnel?", "Opened in 1988, the tunnel is 53.85 km long.", "53.85"),
        ("How much did the tunnel cost?", "In the end the tunnel cost $3.6 billion.", "$3.6 billion"),
        ("What percentage of trains is late?", "Of 500 trains 12.5% are late on Mondays, a percentage of note.", "12.5%"),
        ("How many arches has the bridge?", "The bridge has fifty-two arches.", "fifty-two"),
        ("Who designed the Tower Bridge?", "Tower Bridge was designed by Sir Horace Jones in 1884.", "Sir Horace Jones"),
        ("Who painted it?", "It was painted by Vincent van Gogh.", "Vincent van Gogh"),
        ("Where is the Himeji castle?", "Himeji castle stands in Hyogo, built by Akamatsu.", "Hyogo"),
        ("Which city holds the Tower of London?", "The Tower of London is in London.", None),
        ("Who opened the bridge?", "The bridge was opened by the queen.", None),
        ("When was it opened?", "It was opened by 300 people.", None),
        ("Why is it late?", "It is late because of Snow Storms in 1988.", None),
    ],
)
def test_the_part_of_the_asked_kind_nearest_to_the_questions_words_is_marked(question: str, quote: str, answer: str | None) -> None:
    assert _marked(question, quote) == answer


def test_rare_words_of_the_question_count_more() -> None:
    quote = "Opened in 1931 the tower, and in 1988 the tunnel."
    by_tunnel = highlight("When was the tunnel opened?", quote, {"tunnel": 9.0, "open": 1.0})
    by_opened = highlight("When was the tunnel opened?", quote, {"tunnel": 1.0, "open": 9.0})
    assert by_tunnel
    assert by_opened
    assert (quote[slice(*by_tunnel)], quote[slice(*by_opened)]) == ("1988", "1931")


@given(st.sampled_from(["Who?", "When was it?", "How many?", "Where?"]), st.text(max_size=200), st.dictionaries(st.text(max_size=5), st.floats(0, 9)))
def test_whatever_the_text_a_mark_lies_inside_it_and_is_never_empty(question: str, quote: str, rarity: dict[str, float]) -> None:
    found = highlight(question, quote, rarity)
    if found:
        start, end = found
        assert 0 <= start < end <= len(quote)
        assert quote[start:end] == quote[start:end].strip()
