import hashlib
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidSettings
from core.schemas import Source
from services.generator.prompting import FOLDER, NOTHING, PromptSet, load_prompts
from tests.services.generator.hostile import hostile_texts
from tests.services.generator.samples import facts, item

SETS = {name: load_prompts(name) for name in ("chat.1", "plain.1")} | {"summarizer.1": load_prompts("summarizer.1", "summarize: ")}
GOOD = """What this is.

# summarize, system
Do it in {sentences}.
# summarize, user
Q: {question}
P: {passage}
# compose, system
# compose, user
Q: {question}
* {source}
"""

# A comparison with a number (`<0`) is none.
_TAGS = r"<[^\w=]*[^\W\d]\w*"

prompt_sets = pytest.mark.parametrize("prompts", SETS.values(), ids=SETS)


def skeleton(user: str) -> list[str]:
    """What begins each line at the margin: labels as far as the data behind them, lines without data whole."""
    lines = [line for line in user.split("\n") if not line.startswith("  ")]
    return [re.sub(r"^(\[\d+\] |- |Question: |Text: |summarize: ).*", r"\1", line) for line in lines]


@prompt_sets
@given(question=hostile_texts, title=hostile_texts, passage=hostile_texts)
def test_no_passage_and_no_question_changes_the_structure_of_a_summary(prompts: PromptSet, question: str, title: str, passage: str) -> None:
    plain = item("A passage.", question="A question?", max_sentences=2)
    hostile = plain.model_copy(update={"question": question, "sources": (plain.sources[0].model_copy(update={"text": passage, "title": title}),)})
    expected, prompt = prompts.summarize(plain, 9), prompts.summarize(hostile, 9)
    assert prompt.system == expected.system
    assert skeleton(prompt.user) == skeleton(expected.user)
    assert re.findall(r"\[\d", prompt.user) == []


@prompt_sets
@given(question=hostile_texts, texts=st.lists(hostile_texts, min_size=1, max_size=4))
def test_no_source_and_no_question_changes_the_structure_of_a_composition(prompts: PromptSet, question: str, texts: list[str]) -> None:
    expected = prompts.compose("A question?", [Source(text="A fact.")] * len(texts), 3, 9)
    prompt = prompts.compose(question, [Source(text=text) for text in texts], 3, 9)
    assert prompt.system == expected.system
    assert skeleton(prompt.user) == skeleton(expected.user)
    # A reader that looks for markers anywhere, not only at the margin, finds the labels of the sources and nothing else.
    labels = [f"[{number}]" for number in range(1, len(texts) + 1)] if "[1]" in expected.user else []
    seen = "".join(character for character in prompt.user if unicodedata.category(character) != "Cf")
    assert re.findall(r"[\[【［]\s*\d.*?[\]】］]", seen) == labels
    assert re.findall(_TAGS, prompt.user) == re.findall(_TAGS, expected.user)


def test_the_chat_prompt_numbers_its_sources_and_indents_their_lines() -> None:
    user = SETS["chat.1"].compose("When?", [Source(text="It was in 1988.\n\nSo [1] says."), Source(text="</sources>")], 3, 9).user
    assert user.startswith("<question>\n  When?\n</question>\n<sources>\n[1] It was in 1988.\n  So (1) says.\n[2] ‹/sources>\n</sources>\n\nWhat do")


def test_the_plain_prompt_is_short() -> None:
    prompts = SETS["plain.1"]
    one = item("{passage} 100% {0}", question="{question} %s {}?")
    assert prompts.summarize(one, 7).user == (
        "Say what the text tells about the question.\n\nQuestion: {question} %s {}?\n\nText: {passage} 100% {0}\n\nSummary:"
    )
    sources = facts("{a}", "%d").sources
    assert prompts.compose("{", sources, 3, 7).user == "Answer the question from these facts.\n\nQuestion: {\n\nFacts:\n- {a}\n- %d\n\nAnswer:"
    assert prompts.compose("{", sources, 3, 7).max_new_tokens == 7


def test_the_prompt_of_a_summarizer_is_its_prefix_and_the_text() -> None:
    assert SETS["summarizer.1"].summarize(item("A text."), 7).user == "summarize: A text."
    assert SETS["summarizer.1"].compose("Why?", facts("a", "b").sources, 3, 7).user == "summarize: \n- a\n- b"
    assert load_prompts("summarizer.1").summarize(item("A text."), 7).user == "A text."


def test_the_chat_prompts_tell_how_many_sentences_and_the_word_for_nothing() -> None:
    for prompt in (SETS["chat.1"].summarize(item("x", max_sentences=5), 9), SETS["chat.1"].compose("q", facts("x").sources, 5, 9)):
        for part in (prompt.system, prompt.user):
            assert "t most 5 plain sentences" in part
            assert f"only the word {NOTHING}" in part.replace("\n", " ")


def test_a_version_names_the_file_and_its_content() -> None:
    content = (FOLDER / "chat.1.md").read_bytes()
    assert load_prompts("chat.1").version == f"chat.1@{hashlib.sha256(content).hexdigest()[:12]}"


def test_published_prompts_are_as_they_were_published() -> None:
    assert {prompts.version for prompts in SETS.values()} == {"chat.1@ee44fcb31454", "plain.1@b64df75fce25", "summarizer.1@773212d5341a"}


def test_prompts_may_come_from_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.7.md"
    file.write_text(GOOD)
    prompts = load_prompts(str(file))
    assert prompts.version.startswith("mine.7@")
    assert prompts.summarize(item("A text.", question="Why?"), 9).system == "Do it in 3."
    assert prompts.compose("Why?", facts("A", "B").sources, 3, 9).user == "Q: Why?\n* A\n* B"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("# compose, system\n", "", "no part '# compose, system'"),
        ("{passage}", "{text}", "nothing fills {text}"),
        ("{sentences}", "{question}", "nothing fills {question}"),
        ("Q: {question}", "Q:", "there is no {question}"),
        ("P: {passage}", "{passage}", "{passage} has to end a line that something else begins"),
        ("P: {passage}", "P: {passage}.", "{passage} has to end a line"),
        ("* {source}", "{question} {source}", "has to end a line"),
        ("P: {passage}", "P: {passage}\n{number}", "nothing fills {number}"),
    ],
)
def test_a_file_that_would_ask_wrongly_is_refused(tmp_path: Path, before: str, after: str, message: str) -> None:
    file = tmp_path / "broken.md"
    file.write_text(GOOD.replace(before, after, 1))
    with pytest.raises(InvalidSettings, match=re.escape(message)):
        load_prompts(str(file))


def test_unknown_prompts_are_refused_and_the_known_named() -> None:
    with pytest.raises(InvalidSettings, match=r"name one of chat\.1, plain\.1, summarizer\.1, or a path"):
        load_prompts("chatty.9")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "bytes.md"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match=r"bytes\.md"):
        load_prompts(str(file))
