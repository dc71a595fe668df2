from core.errors import InvalidRequest
from core.schemas import WritingStats
from services.generator.asking import Asking, in_step
from services.generator.engines.engine import Prompt, Read, Written
from services.generator.tallying import Tally, tallied
from tests.services.generator.scripted import ScriptedEngine


def written(prompt_tokens: int, new_tokens: int, read: Read | None = None) -> Written:
    return Written("some words", "stop", prompt_tokens, new_tokens, read)


def test_texts_add_up_and_the_last_company_is_told() -> None:
    tally = Tally()
    tally.add([written(10, 3, Read(1, 10, 10)), InvalidRequest("too long")])
    tally.add([written(20, 4, Read(4, 60, 80))])
    assert tally.stats() == WritingStats(prompts=2, prompt_tokens=30, new_tokens=7, rows=4, tokens=60, padding=0.25)


def test_an_engine_that_knows_no_company_tells_none() -> None:
    tally = Tally()
    tally.add([written(10, 3)])
    assert tally.stats() == WritingStats(prompts=1, prompt_tokens=10, new_tokens=3)


def test_where_nothing_was_written_there_is_nothing_to_tell() -> None:
    tally = Tally()
    tally.add([InvalidRequest("too long")])
    assert tally.stats() is None


def test_a_stopped_stream_counts_the_text_without_the_template() -> None:
    tally = Tally()
    tally.add_stopped(ScriptedEngine(), Prompt("Be brief.", "When was it opened?", 9), "In the year 1988")
    assert tally.stats() == WritingStats(prompts=1, prompt_tokens=6, new_tokens=4)


async def test_work_is_counted_on_its_way_and_its_result_is_kept() -> None:
    def work() -> Asking[str]:
        first = yield [Prompt("", "a", 1), Prompt("", "b", 1)]
        second = yield [Prompt("", "c", 1)]
        return f"{len(first)} and {len(second)}"

    tally = Tally()
    engine = ScriptedEngine(lambda prompt: prompt.user * 2)
    assert await in_step([tallied(work(), tally)], engine.write) == ["2 and 1"]
    assert tally.stats() == WritingStats(prompts=3, prompt_tokens=3, new_tokens=3)
