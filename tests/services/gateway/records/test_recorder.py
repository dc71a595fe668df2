import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from core.errors import AnswerNotFound, StorageFull
from core.schemas import AnswerRecord
from services.gateway.records import recorder as module
from services.gateway.records.book import RecordBook
from services.gateway.records.recorder import Recorder
from tests.services.gateway.records.samples import REQUEST, answer, settings


def _counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("ekiben_answer_records_total", {"outcome": outcome}) or 0.0


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_S", 0.001)


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(settings(tmp_path / "records"))


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - counters tell nobody
            await asyncio.sleep(0.001)


async def test_an_answer_is_found_from_the_moment_it_was_given_and_after_a_restart(recorder: Recorder, tmp_path: Path) -> None:
    before = _counted("kept")
    async with recorder.running():
        recorder.keep(REQUEST, answer(1))
        given = await recorder.find("ans_1")
        await _until(lambda: _counted("kept") == before + 1)
        assert await recorder.find("ans_1") == given
        recorder.keep(REQUEST, answer(2), replay_of="ans_1")
    again = Recorder(settings(tmp_path / "records"))
    async with again.running():
        assert await again.find("ans_1") == given
        assert (await again.find("ans_2")).replay_of == "ans_1"


async def test_many_answers_share_few_transactions(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    write = RecordBook.keep

    def counting(self: RecordBook, records: Sequence[AnswerRecord]) -> None:
        batches.append(len(records))
        write(self, records)

    monkeypatch.setattr(RecordBook, "keep", counting)
    async with recorder.running():
        for number in range(500):
            recorder.keep(REQUEST, answer(number))
    assert sum(batches) == 500
    assert len(batches) <= 4


@pytest.mark.parametrize("failure", [StorageFull("full"), OSError("broken"), RuntimeError("unforeseen")])
async def test_a_failing_disk_costs_records_and_is_told_once_until_it_is_over(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    write, lost, kept = RecordBook.keep, _counted("lost"), _counted("kept")
    failing = True

    def keep(self: RecordBook, records: Sequence[AnswerRecord]) -> None:
        if failing:
            raise failure
        write(self, records)

    monkeypatch.setattr(RecordBook, "keep", keep)
    monkeypatch.setattr(logging.getLogger("ekiben"), "propagate", True)
    with caplog.at_level(logging.INFO, "ekiben.records"):
        async with recorder.running():
            for number in range(3):
                recorder.keep(REQUEST, answer(number))
                await _until(lambda number=number: _counted("lost") == lost + number + 1)
            failing = False
            recorder.keep(REQUEST, answer(9))
            await _until(lambda: _counted("kept") == kept + 1)
            with pytest.raises(AnswerNotFound):
                await recorder.find("ans_0")
            assert (await recorder.find("ans_9")).id == "ans_9"
    messages = [one.message for one in caplog.records if one.message.startswith("answers are")]
    assert messages == ["answers are not recorded until this is put right", "answers are recorded again"]


async def test_more_than_the_disk_takes_is_lost_and_counted(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    before = _counted("lost")
    async with recorder.running():
        for number in range(5):
            recorder.keep(REQUEST, answer(number))
        assert _counted("lost") == before + 2


async def test_records_can_be_switched_off_and_then_touch_no_disk(tmp_path: Path) -> None:
    off = Recorder(settings(tmp_path / "records", keep=0))
    async with off.running():
        off.keep(REQUEST, answer(1))
        with pytest.raises(AnswerNotFound, match=r"records\.keep is 0"):
            await off.find("ans_1")
    assert not (tmp_path / "records").exists()


async def test_before_the_start_and_after_the_end_nothing_is_kept_and_nothing_fails(recorder: Recorder) -> None:
    recorder.keep(REQUEST, answer(1))
    async with recorder.running():
        pass
    recorder.keep(REQUEST, answer(2))
