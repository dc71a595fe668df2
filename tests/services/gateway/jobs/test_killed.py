import io
import random
import subprocess
import sys
from pathlib import Path

from core.schemas import FieldMap, Job
from core.settings import load_settings
from services.gateway.jobs.queue import JobQueue, Upload

KILLS = 3


def _state(folder: Path, job: Job) -> Job:
    queue = JobQueue.open(load_settings().jobs.model_copy(update={"data_dir": folder / "jobs"}))
    try:
        return queue.get(job.id)
    finally:
        queue.close()


def _run_and_kill(folder: Path, stores: int) -> None:
    """Start a worker and kill it when it has stored that many documents, or all."""
    command = [sys.executable, "-m", "tests.services.gateway.jobs.killed_worker", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        for _ in range(stores):
            worker.stdout.readline()
        worker.kill()


def test_a_worker_that_is_killed_again_and_again_loses_no_item_and_counts_none_twice(tmp_path: Path) -> None:
    (tmp_path / "stored").mkdir()
    names = [f"{number}.txt" for number in range(30)]
    queue = JobQueue.open(load_settings().jobs.model_copy(update={"data_dir": tmp_path / "jobs"}))
    job = queue.submit("default", FieldMap(), [Upload(name, "file", io.BytesIO(f"Text of {name}.".encode())) for name in names])
    queue.close()
    chosen = random.Random(1872)  # the year of the first line
    for _ in range(KILLS):
        _run_and_kill(tmp_path, chosen.randint(2, 5))
        state = _state(tmp_path, job)
        told = sum(state.documents.model_dump().values())
        assert told == state.items_done <= len(list((tmp_path / "stored").iterdir()))
        assert len(list((tmp_path / "jobs" / "spool").iterdir())) == 30 - state.items_done
    # The last store of all is followed by its commit; a kill in between leaves one item, which the next worker stores again.
    remaining = 30 - state.items_done
    _run_and_kill(tmp_path, remaining)
    if _state(tmp_path, job).state != "done":
        _finish_last(tmp_path, job)
    state = _state(tmp_path, job)
    assert (state.state, state.items_done, state.errors, sum(state.documents.model_dump().values())) == ("done", 30, (), 30)
    assert {path.name: path.read_text() for path in (tmp_path / "stored").iterdir()} == {name: f"Text of {name}." for name in names}


def _finish_last(folder: Path, job: Job) -> None:
    """A second job behind the last item shows that the item has been finished."""
    queue = JobQueue.open(load_settings().jobs.model_copy(update={"data_dir": folder / "jobs"}))
    waiting = queue.get(job.id)
    queue.submit("default", FieldMap(), [Upload("behind.txt", "file", io.BytesIO(b"Behind."))])
    queue.close()
    _run_and_kill(folder, waiting.items - waiting.items_done + 1)
    (folder / "stored" / "behind.txt").unlink()
