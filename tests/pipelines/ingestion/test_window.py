import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import Internal
from core.schemas import MAX_TITLE_CHARS, EncoderInfo
from core.settings import IngestionSettings
from pipelines.ingestion.window import MAX_CHARS_PER_TOKEN, EncoderWindow

WORDS = st.lists(st.sampled_from(["train", "Yokohama", "unbelievably", "1872", "ab-cd", "don't", "(x)", "駅弁", "\n\n", "\t", "é"])).map(" ".join)

PARTS = st.text(max_size=MAX_TITLE_CHARS) | WORDS


@pytest.fixture(scope="module")
def window(any_encoder: EncoderInfo, limits: IngestionSettings) -> EncoderWindow:
    return EncoderWindow(any_encoder, limits)


@pytest.fixture(scope="module")
def wordpiece(encoder: EncoderInfo, limits: IngestionSettings) -> EncoderWindow:
    return EncoderWindow(encoder, limits)


@pytest.fixture(scope="module")
def roomy(any_encoder: EncoderInfo, limits: IngestionSettings) -> EncoderWindow:
    return EncoderWindow(any_encoder, limits, 256)


def test_the_budget_is_the_smaller_of_chunk_and_window(encoder, limits):
    assert EncoderWindow(encoder, limits).tokens == limits.chunk_tokens
    narrow = encoder.model_copy(update={"max_tokens": 20})
    assert EncoderWindow(narrow, limits).tokens == 20


def test_a_collection_may_have_a_budget_of_its_own(encoder, limits):
    assert EncoderWindow(encoder, limits, 100).tokens == 100
    assert EncoderWindow(encoder, limits, 100_000).tokens == encoder.max_tokens


def test_truncation_and_padding_of_the_saved_tokenizer_are_off(encoder, wordpiece):
    assert json.loads(encoder.tokenizer_json)["truncation"] is not None
    assert wordpiece.count(["train", "train " * 1_000]) == [3, 1_002]


@given(WORDS)
def test_the_estimate_is_exact_for_wordpiece(wordpiece, text):
    assert wordpiece.estimate(text) + 2 == wordpiece.count([text])[0]


def test_characters_that_cost_no_token_count_by_their_number(wordpiece):
    text = "\u200b" * 320
    assert wordpiece.count([text]) == [2]
    assert wordpiece.estimate(text) == 320 // MAX_CHARS_PER_TOKEN


def test_an_endless_word_is_not_taken_for_one_token(wordpiece):
    word = "a" * 10_000
    assert wordpiece.count([word]) == [3]
    assert wordpiece.estimate(word) >= len(word) // MAX_CHARS_PER_TOKEN


@given(title=PARTS, headings=st.lists(PARTS, max_size=9), text=st.text(max_size=20))
@example(title="000000½", headings=[], text="")  # NFKC makes three characters of the last one
@example(title="x" * 900, headings=["y" * 900] * 9, text="")
def test_title_path_and_room_fit_the_window(window, title, headings, text):
    prefix = window.passage_text(title, headings, text).removesuffix(text)
    # 2: the line end, and what the seam between title and text may cost.
    assert window.count([prefix])[0] + window.room(title, headings, text) <= window.tokens + 2
    assert window.room(title, headings, text) >= window.tokens * 3 // 4 - 4


def test_a_passage_is_title_line_end_text(window):
    assert window.passage_text("Ekiben", (), "A boxed meal.") == "Ekiben\nA boxed meal."


def test_the_path_stands_behind_the_title(roomy):
    assert roomy.passage_text("Ekiben", ("History", "The first one"), "Rice.") == "Ekiben > History > The first one\nRice."
    assert roomy.passage_text("", ("History",), "Rice.") == "History\nRice."


def test_without_title_and_path_the_text_stands_alone(window):
    assert window.passage_text("", (), "A boxed meal.") == "A boxed meal."
    assert window.passage_text(" \n", (" ",), "A boxed meal.") == "A boxed meal."


@pytest.mark.parametrize("text", ["Ekiben\nA boxed meal.", "# Ekiben\n\nA boxed meal.", "\n## *Ekiben*", "Ekiben, a boxed meal."])
def test_a_chunk_that_begins_with_the_title_does_not_get_it_twice(window, text):
    assert window.passage_text("Ekiben", (), text) == text


@pytest.mark.parametrize("text", ["The ekiben", "Ekibens are boxed meals.", "Eki", "A boxed meal: Ekiben", ""])
def test_a_chunk_that_begins_otherwise_gets_the_title(window, text):
    assert window.passage_text("Ekiben", (), text) == f"Ekiben\n{text}"


def test_a_title_without_words_is_never_taken_for_the_beginning(window):
    assert window.passage_text("***", (), "A boxed meal.") == "***\nA boxed meal."


def test_a_chunk_that_begins_with_its_heading_gets_what_is_above_it(roomy):
    assert roomy.passage_text("Ekiben", ("History", "Rice"), "## Rice\n\nIt was white.") == "Ekiben > History\n## Rice\n\nIt was white."


def test_a_heading_that_repeats_the_title_stands_there_once(roomy):
    assert roomy.passage_text("Ekiben", ("Ekiben", "History"), "Rice.") == "Ekiben > History\nRice."


def test_title_and_path_are_one_line(roomy):
    assert roomy.passage_text(" The\n box \t", ("with\nrice",), "text") == "The box > with rice\ntext"


def test_the_outermost_and_the_innermost_stay_where_a_path_is_too_long(wordpiece):
    assert wordpiece.passage_text("Box", ("one two three", "four five six seven eight", "rice"), "text") == "Box > rice\ntext"


def test_a_title_leaves_half_of_the_bound_to_the_innermost_heading(wordpiece):
    assert wordpiece.passage_text("one two three four five six seven eight", ("nine", "rice"), "text") == "one two three four > rice\ntext"


def test_a_long_title_is_cut_to_a_quarter_of_the_window(wordpiece):
    title = " ".join(f"w{n}" for n in range(300))
    prefix = wordpiece.passage_text(title, (), "").rstrip("\n")
    assert title.startswith(prefix)
    assert wordpiece.count([prefix])[0] - 2 == wordpiece.tokens // 4


def test_both_sides_write_the_same_passage(any_encoder, limits):
    title, path, text = "A long title " * 30, ("A long heading " * 30, "and a short one"), "and its text"
    one, other = EncoderWindow(any_encoder, limits), EncoderWindow(any_encoder, limits)
    assert one.passage_text(title, path, text) == other.passage_text(title, path, text)


def test_a_description_without_tokenizer_is_refused(encoder, limits):
    with pytest.raises(Internal, match="without its tokenizer"):
        EncoderWindow(encoder.model_copy(update={"tokenizer_json": ""}), limits)
