import io
import multiprocessing
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ErrorInfo, InvalidRequest, InvalidSettings, JobNotFound, PayloadTooLarge, QueueFull, StorageFull, StoreCorrupt, StoreLocked
from core.schemas import MAX_JOB_ERRORS, DocumentResult, FieldMap, Job, ListJobsRequest
from core.settings import JobsSettings, load_settings
from services.gateway.jobs.queue import Item, JobQueue, Upload


@pytest.fixture
def settings(tmp_path: Path) -> JobsSettings:
    return load_settings().jobs.model_copy(update={"data_dir": tmp_path / "deep" / "jobs", "max_queued_items": 5, "max_queued_bytes": 100})


@pytest.fixture
def queue(settings: JobsSettings) -> Iterator[JobQueue]:
    opened = JobQueue.open(settings)
    yield opened
    opened.close()


def _submit(queue: JobQueue, *names: str, content: bytes = b"text", collection: str = "default") -> Job:
    return queue.submit(collection, FieldMap(text="body"), [Upload(name, "file", io.BytesIO(content)) for name in names])


def _take(queue: JobQueue) -> Item:
    item = queue.take()
    assert item is not None
    return item


def _result(state: str, identifier: str = "a") -> DocumentResult:
    error = ErrorInfo(code="document_empty", message="empty") if state == "failed" else None
    return DocumentResult.model_validate({"id": identifier, "state": state, "error": error})


def _spooled(settings: JobsSettings) -> set[str]:
    return {path.name for path in (settings.data_dir / "spool").iterdir()}


def test_an_item_is_taken_with_all_that_was_sent_and_gone_when_it_is_finished(queue: JobQueue, settings: JobsSettings) -> None:
    job = _submit(queue, "a.txt", content=b"Some text.", collection="mine")
    assert (job.state, job.items, job.items_done, job.started_at) == ("queued", 1, 0, None)
    item = _take(queue)
    assert (item.job_id, item.id, item.kind, item.collection, item.fields) == (job.id, "a.txt", "file", "mine", FieldMap(text="body"))
    assert (item.path.read_bytes(), item.content.size, item.starts, item.repeated) == (b"Some text.", 10, 1, False)
    assert queue.get(job.id).state == "running"
    queue.finish(item, [_result("created"), _result("failed", "b"), _result("unchanged")])
    done = queue.get(job.id)
    assert (done.state, done.items_done, done.finished_at is not None) == ("done", 1, True)
    assert done.documents.model_dump() == {"created": 1, "updated": 0, "unchanged": 1, "failed": 1}
    assert [error.id for error in done.errors] == ["b"]
    assert (queue.take(), _spooled(settings)) == (None, set())


def test_a_new_start_goes_on_where_the_last_one_ended_and_counts_it(queue: JobQueue, settings: JobsSettings) -> None:
    _submit(queue, "a", "b")
    queue.finish(_take(queue), [_result("created")])
    _take(queue)
    (settings.data_dir / "spool" / "orphan").touch()
    queue.close()
    reopened = JobQueue.open(settings)
    again = _take(reopened)
    assert (again.id, again.starts, again.path.read_bytes()) == ("b", 2, b"text")
    assert _spooled(settings) == {again.path.name}
    reopened.close()


def test_a_start_that_the_item_is_not_to_blame_for_does_not_count(queue: JobQueue) -> None:
    _submit(queue, "a")
    for _ in range(5):
        item = _take(queue)
        assert item.starts == 1
        queue.put_back(item)


def test_jobs_take_turns_and_items_keep_their_order(queue: JobQueue) -> None:
    _submit(queue, "a1", "a2", "a3")
    order = [_take(queue)]
    queue.finish(order[0], [])
    _submit(queue, "b1", "b2")
    while item := queue.take():
        queue.finish(item, [])
        order.append(item)
    assert [item.id for item in order] == ["a1", "a2", "b1", "a3", "b2"]


def test_an_old_job_gets_its_turn_though_new_ones_keep_coming(queue: JobQueue) -> None:
    _submit(queue, "old1", "old2", "old3")
    for number in range(8):
        _submit(queue, f"new{number}")
        item = _take(queue)
        queue.finish(item, [])
        if item.id == "old3":
            break
    else:
        pytest.fail("the old job starved")


def test_more_than_may_wait_is_refused_and_nothing_is_left_of_it(queue: JobQueue, settings: JobsSettings) -> None:
    _submit(queue, "a", "b", "c")
    for names, content, error in (
        (("d", "e", "f"), b"", QueueFull),
        (("d",), b"x" * 89, QueueFull),
        (tuple("abcdef"), b"", PayloadTooLarge),
        (("d",), b"x" * 101, PayloadTooLarge),
    ):
        with pytest.raises(error, match=r"jobs\.max_queued_(items|bytes)"):
            _submit(queue, *names, content=content)
        with pytest.raises(error):
            queue.require_room(len(names), len(names) * len(content))
        assert len(_spooled(settings)) == 3
    queue.finish(_take(queue), [])
    assert _submit(queue, "d", "e", "f", content=b"x" * 10).items == 3


def test_cancelling_drops_what_waits_and_keeps_what_was_stored(queue: JobQueue, settings: JobsSettings) -> None:
    job, other = _submit(queue, "a", "b", "c"), _submit(queue, "x")
    queue.finish(_take(queue), [_result("created")])
    queue.finish(_take(queue), [])
    running = _take(queue)
    assert queue.is_wanted(running)
    cancelled = queue.cancel(job.id)
    assert (cancelled.state, cancelled.items, cancelled.items_done, cancelled.documents.created) == ("cancelled", 3, 1, 1)
    assert not queue.is_wanted(running)
    queue.finish(running, [_result("updated")])
    again = queue.cancel(job.id)
    assert (again.state, again.items_done, again.documents.updated, again.finished_at) == ("cancelled", 1, 1, cancelled.finished_at)
    assert (queue.take(), _spooled(settings)) == (None, set())
    assert queue.cancel(other.id).state == "done"


def test_a_job_is_forgotten_some_days_after_its_end(settings: JobsSettings) -> None:
    queue = JobQueue.open(settings.model_copy(update={"keep_days": 1e-9}))
    done, waiting = _submit(queue, "a"), _submit(queue, "b")
    queue.finish(_take(queue), [_result("failed")])
    while True:  # until the clock has moved on by a millisecond
        _take(queue)
        try:
            queue.get(done.id)
        except JobNotFound:
            break
    assert queue.get(waiting.id).state == "running"
    queue.close()


def test_errors_are_kept_up_to_a_bound_and_all_are_counted(queue: JobQueue) -> None:
    job = _submit(queue, "a", "b")
    for _ in range(2):
        queue.finish(_take(queue), [_result("failed", str(number)) for number in range(MAX_JOB_ERRORS - 1)])
    done = queue.get(job.id)
    assert (done.documents.failed, len(done.errors), done.errors[-1].id) == (2 * MAX_JOB_ERRORS - 2, MAX_JOB_ERRORS, "0")


@given(st.integers(1, 6))
def test_the_list_is_paged_newest_first_without_gap_or_repeat(tmp_path_factory: pytest.TempPathFactory, limit: int) -> None:
    queue = JobQueue.open(load_settings().jobs.model_copy(update={"data_dir": tmp_path_factory.mktemp("jobs")}))
    ids = [_submit(queue, "a", collection=collection).id for collection in ("x", "y", "x", "x", "y")]
    found, cursor = [], None
    while True:
        page = queue.list(ListJobsRequest(limit=limit, cursor=cursor))
        found += [job.id for job in page.jobs]
        assert len(page.jobs) <= limit
        if (cursor := page.next) is None:
            break
    assert found == ids[::-1]
    queue.cancel(ids[0])
    assert [job.id for job in queue.list(ListJobsRequest(collection="x", state="queued")).jobs] == [ids[3], ids[2]]
    queue.close()


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "²", "9" * 19, "9" * 5000])
def test_a_cursor_that_is_none_is_refused(queue: JobQueue, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        queue.list(ListJobsRequest(cursor=cursor))


def test_an_unknown_job_is_not_found(queue: JobQueue) -> None:
    for ask in (queue.get, queue.cancel):
        with pytest.raises(JobNotFound, match="nobody"):
            ask("nobody")


def _is_locked(settings: JobsSettings) -> bool:
    try:
        JobQueue.open(settings).close()
    except StoreLocked:
        return True
    return False


def test_a_second_process_is_refused_until_the_first_one_lets_go(queue: JobQueue, settings: JobsSettings) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_is_locked, (settings,))
        with pytest.raises(StoreLocked, match=r"jobs\.data_dir"):
            JobQueue.open(settings)
        queue.close()
        assert not pool.apply(_is_locked, (settings,))
        pool.close()
        pool.join()


def test_a_folder_that_can_not_be_used_is_named(tmp_path: Path, settings: JobsSettings) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSettings, match=r"file/jobs.*jobs\.data_dir"):
        JobQueue.open(settings.model_copy(update={"data_dir": tmp_path / "file" / "jobs"}))


def test_a_database_of_another_version_or_none_is_refused_and_the_folder_let_go(settings: JobsSettings) -> None:
    JobQueue.open(settings).close()
    database = settings.data_dir / "jobs.db"
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(InvalidSettings, match="99") as another_version:
        JobQueue.open(settings)
    database.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreCorrupt) as no_database:
        JobQueue.open(settings)
    database.unlink()
    JobQueue.open(settings).close()
    assert another_version.tb is not no_database.tb  # tracebacks keep what was opened: it was let go by hand, not by the garbage collector


@pytest.mark.parametrize(
    "harm",
    ["UPDATE items SET id = 'another'", "UPDATE items SET sha256 = ''", "UPDATE jobs SET collection = 'another'", "UPDATE jobs SET id = 'another'"],
)
def test_a_row_that_is_not_what_was_written_is_never_used_and_the_next_start_is_refused(queue: JobQueue, settings: JobsSettings, harm: str) -> None:
    _submit(queue, "a")
    connection = sqlite3.connect(settings.data_dir / "jobs.db", isolation_level=None)
    connection.execute(harm)
    connection.close()
    with pytest.raises(StoreCorrupt, match="send again"):
        queue.take()
    if "UPDATE jobs" in harm:
        with pytest.raises(StoreCorrupt, match="send again"):
            queue.list(ListJobsRequest())
    queue.close()
    with pytest.raises(StoreCorrupt, match="send again"):
        JobQueue.open(settings)


def test_errors_that_are_not_what_was_written_are_not_told(queue: JobQueue, settings: JobsSettings) -> None:
    job = _submit(queue, "a")
    queue.finish(_take(queue), [_result("failed")])
    connection = sqlite3.connect(settings.data_dir / "jobs.db", isolation_level=None)
    connection.execute("UPDATE errors SET result = CAST(X'ff' AS TEXT)")
    connection.close()
    with pytest.raises(StoreCorrupt):
        queue.get(job.id)


def test_commits_that_are_lost_or_another_folders_refuse_the_start(queue: JobQueue, settings: JobsSettings, tmp_path: Path) -> None:
    JobQueue.open(settings.model_copy(update={"data_dir": tmp_path / "other"})).close()
    queue.close()
    empty = (settings.data_dir / "jobs.db").read_bytes()
    reopened = JobQueue.open(settings)
    _submit(reopened, "a")
    reopened.close()
    for content, finding in ((empty, "lost 1 of 1 commits"), ((tmp_path / "other" / "jobs.db").read_bytes(), "belongs to")):
        (settings.data_dir / "jobs.db").write_bytes(content)
        with pytest.raises(StoreCorrupt, match=finding):
            JobQueue.open(settings)


def test_a_disk_that_is_full_refuses_the_job_and_leaves_nothing_of_it(settings: JobsSettings) -> None:
    queue = JobQueue.open(settings.model_copy(update={"max_queued_bytes": 10**9}))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        with pytest.raises(StorageFull, match="uploads"):
            queue.submit("default", FieldMap(), [Upload(name, "file", io.BytesIO(b"x" * size)) for name, size in (("a", 10), ("b", 600_000))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (_spooled(settings), queue.list(ListJobsRequest()).jobs) == (set(), ())
    assert _submit(queue, "a").state == "queued"
    queue.close()


def test_an_upload_that_breaks_off_leaves_nothing(queue: JobQueue, settings: JobsSettings) -> None:
    broken = io.BytesIO(b"x")
    broken.close()
    with pytest.raises(ValueError, match="closed"):
        queue.submit("default", FieldMap(), [Upload("a", "file", io.BytesIO(b"x")), Upload("b", "file", broken)])
    assert (_spooled(settings), queue.list(ListJobsRequest()).jobs) == (set(), ())
