import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.rendering import render_answer
from clients.typing_out import type_out
from core.errors import GenerationFailed
from core.schemas import Answer, AnswerEvent, DoneEvent, Token, TokenEvent
from tests.clients.conftest import Run
from tests.clients.fake_gateway import ANSWER, FakeGateway


def _events(answer: Answer, pieces: list[str]) -> list[AnswerEvent]:
    return [*(TokenEvent(data=Token(text=piece)) for piece in pieces), DoneEvent(data=answer)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.text("ab-—,.0é駅", min_size=1, max_size=30), min_size=1, max_size=60),
    gaps=st.sampled_from([" ", "  ", "\n", "\t"]),
    cut=st.integers(1, 17),
)
def test_what_stands_there_in_the_end_is_what_a_whole_answer_prints(
    capsys: pytest.CaptureFixture[str], words: list[str], gaps: str, cut: int
) -> None:
    text = gaps.join(words)
    answer = ANSWER.model_copy(update={"answer": text})
    capsys.readouterr()
    assert type_out(_events(answer, [text[start : start + cut] for start in range(0, len(text), cut)])) == answer
    assert capsys.readouterr().out == render_answer(answer) + "\n"


def test_words_are_shown_before_the_answer_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> object:
        yield TokenEvent(data=Token(text="Some words were "))
        yield TokenEvent(data=Token(text="sent and"))
        raise GenerationFailed("the model broke")

    with pytest.raises(GenerationFailed):
        type_out(broken())  # type: ignore[arg-type]
    assert capsys.readouterr().out == "Some words were sent\n"


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(("flags", "streams"), [([], None), (["--stream"], True), (["--no-stream"], False), (["--stream", "--json"], False)])
def test_ask_streams_to_a_terminal_or_when_told_and_prints_the_same(
    run_cli: Run, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, terminal: bool, flags: list[str], streams: bool | None
) -> None:
    whole = run_cli("ask", "What?", "--no-stream", *(flag for flag in flags if flag == "--json"))
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    done = run_cli("ask", "What?", *flags)
    assert gateway.asked["stream"] is (terminal if streams is None else streams)
    assert done == whole
    assert done.exit_code == 0


def test_an_answer_that_breaks_off_is_an_error(run_cli: Run, gateway: FakeGateway) -> None:
    gateway.tokens, gateway.break_off_after, gateway.stream_error = ["The text", " is"], 3, GenerationFailed("the model broke")
    done = run_cli("ask", "What?", "--stream")
    assert (done.exit_code, done.out, done.err) == (5, "The text\n", "ekiben: the model broke\n")
    assert re.search("Traceback", done.err) is None
