"""Jobs and their items on the disk: accepted whole or not at all, handed out in turns, kept until they are done."""

import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Final, Literal, Self

from filelock import FileLock

from core.errors import InvalidRequest, JobNotFound, PayloadTooLarge, QueueFull
from core.schemas import MAX_JOB_ERRORS, DocumentCounts, DocumentResult, FieldMap, Job, JobPage, ListJobsRequest
from core.settings import JobsSettings
from services.clock import now
from services.durable import sync_folder
from services.folder_lock import hold
from services.gateway.jobs.database import Database, changing_job, checksum, seal_job
from services.gateway.jobs.spool import Content, Spool

ItemKind = Literal["file", "json"]
_LAST_CURSOR: Final = 2**63 - 1
_NEXT_TURN: Final = "(SELECT coalesce(max(turn), 0) + 1 FROM jobs WHERE finished_at IS NULL)"


@dataclass(frozen=True)
class Upload:
    """One item as it comes in: a file, or one document as JSON. `id` is the name of the document or file."""

    id: str
    kind: ItemKind
    content: BinaryIO


@dataclass(frozen=True)
class Item:
    """One item to work on. `starts` counts how often it was taken without coming to an end, this time included."""

    job: int
    job_id: str
    ordinal: int
    collection: str
    fields: FieldMap
    id: str
    kind: ItemKind
    repeated: bool
    path: Path
    content: Content
    starts: int


class JobQueue:
    """The jobs in one folder, which this process holds. Thread-safe; every method blocks for the disk."""

    def __init__(self, limits: JobsSettings, lock: FileLock) -> None:
        self._limits = limits
        self._lock = lock
        self._spool = Spool(limits.data_dir / "spool")
        self._database = Database(limits.data_dir / "jobs.db", may_be_new=not self._spool.names())

    @classmethod
    def open(cls, limits: JobsSettings) -> Self:
        """Hold the folder, creating it where it is missing, and delete the uploads that a crash has left without a job.

        Raises StoreLocked while another process holds it, InvalidSettings where it can't be used, StoreCorrupt where the database is damaged,
        missing though there were jobs, or lacks commits that were acknowledged. Uploads are checked one by one, before they are worked on.
        """
        lock = hold(limits.data_dir, "jobs", "jobs", "jobs.data_dir")
        with ExitStack() as undo:
            undo.callback(lock.release)
            queue = cls(limits, lock)
            undo.callback(queue._database.close)
            sync_folder(limits.data_dir)
            with queue._database.transaction() as db:
                waiting = {file for (file,) in db.execute("SELECT file FROM items")}
            queue._spool.remove_all_but(waiting)
            undo.pop_all()
        return queue

    def close(self) -> None:
        """Let go of the folder."""
        self._database.close()
        self._lock.release()

    # -- in ----------------------------------------------------------------------------------------------------------------------

    def require_room(self, items: int, size: int) -> None:
        """Raise QueueFull where that much can't be added now, PayloadTooLarge where it never can."""
        with self._database.transaction() as db:
            self._require_room(db, items, size)

    def submit(self, collection: str, fields: FieldMap, uploads: Sequence[Upload]) -> Job:
        """Accept a job. It survives any crash when this returns; where this raises, nothing is left of it.

        Raises QueueFull, PayloadTooLarge and StorageFull.
        """
        job_id = uuid.uuid4().hex
        files = [f"{job_id}-{ordinal}" for ordinal in range(len(uploads))]
        try:
            contents = [self._spool.write(file, upload.content) for file, upload in zip(files, uploads, strict=True)]
            self._spool.sync()
            with self._database.transaction() as db:
                self._require_room(db, len(uploads), sum(content.size for content in contents))
                self._insert(db, job_id, collection, fields, list(zip(uploads, files, contents, strict=True)))
                return _job(db, _row(db, job_id))
        except BaseException:
            self._spool.remove(files)
            raise

    def _require_room(self, db: sqlite3.Connection, items: int, size: int) -> None:
        waiting, waiting_bytes = db.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM items").fetchone()
        for count, before, limit, what, setting in (
            (items, waiting, self._limits.max_queued_items, "items", "jobs.max_queued_items"),
            (size, waiting_bytes, self._limits.max_queued_bytes, "bytes", "jobs.max_queued_bytes"),
        ):
            if count > limit:
                raise PayloadTooLarge(f"the request has {count} {what}, at most {limit} may wait ({setting}): send it in parts")
            if before + count > limit:
                raise QueueFull(f"{before} {what} wait already, with these {count} it would be more than {limit} ({setting}): try again later")

    def _insert(self, db: sqlite3.Connection, job_id: str, collection: str, fields: FieldMap, items: Sequence[tuple[Upload, str, Content]]) -> None:
        number = db.execute(
            f"INSERT INTO jobs (id, collection, fields, state, turn, created_at, items) VALUES (?, ?, ?, 'queued', {_NEXT_TURN}, ?, ?)",  # noqa: S608
            (job_id, collection, fields.model_dump_json(), now(), len(items)),
        ).lastrowid
        assert number is not None
        seal_job(db, number)
        seen: set[str] = set()
        for ordinal, (upload, file, content) in enumerate(items):
            row = (number, ordinal, upload.id, upload.kind, int(upload.id in seen), file, *content)
            statement = "INSERT INTO items (job, ordinal, id, kind, repeated, file, bytes, sha256, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            db.execute(statement, (*row, checksum(row)))
            seen.add(upload.id)

    # -- out ---------------------------------------------------------------------------------------------------------------------

    def take(self) -> Item | None:
        """The next item, or None; it is handed out again until `finish`. Jobs take turns, items go in their order.

        Forgets jobs that finished longer than `keep_days` ago.
        """
        with self._database.transaction() as db:
            db.execute("DELETE FROM jobs WHERE finished_at < ?", (now(timedelta(days=self._limits.keep_days)),))
            job = db.execute("SELECT * FROM jobs WHERE finished_at IS NULL ORDER BY turn LIMIT 1").fetchone()
            if job is None:
                return None
            with changing_job(db, job["number"]):
                db.execute(
                    f"UPDATE jobs SET state = 'running', started_at = coalesce(started_at, ?), turn = {_NEXT_TURN} WHERE number = ?",  # noqa: S608
                    (now(), job["number"]),
                )
            item = db.execute(
                "UPDATE items SET starts = starts + 1 WHERE job = ?1 AND ordinal = (SELECT min(ordinal) FROM items WHERE job = ?1) RETURNING *",
                (job["number"],),
            ).fetchone()
        return Item(
            job=job["number"],
            job_id=job["id"],
            ordinal=item["ordinal"],
            collection=job["collection"],
            fields=FieldMap.model_validate_json(job["fields"]),
            id=item["id"],
            kind=item["kind"],
            repeated=bool(item["repeated"]),
            path=self._spool.path(item["file"]),
            content=Content(item["bytes"], item["sha256"]),
            starts=item["starts"],
        )

    def put_back(self, item: Item) -> None:
        """Not this item is to blame that it did not come to its end: this start of it does not count."""
        with self._database.transaction() as db:
            db.execute("UPDATE items SET starts = starts - 1 WHERE job = ? AND ordinal = ?", (item.job, item.ordinal))

    def is_wanted(self, item: Item) -> bool:
        """Whether its job has not been cancelled."""
        with self._database.transaction() as db:
            found = db.execute("SELECT 1 FROM items WHERE job = ? AND ordinal = ?", (item.job, item.ordinal)).fetchone()
        return found is not None

    def finish(self, item: Item, results: Sequence[DocumentResult]) -> None:
        """Keep what became of an item's documents, and forget the item. Documents of an item that was cancelled meanwhile are counted as well."""
        with self._database.transaction() as db, changing_job(db, item.job):
            done = db.execute("DELETE FROM items WHERE job = ? AND ordinal = ?", (item.job, item.ordinal)).rowcount
            for state in DocumentCounts.model_fields:
                count = sum(result.state == state for result in results)
                db.execute(f"UPDATE jobs SET {state} = {state} + ? WHERE number = ?", (count, item.job))  # noqa: S608 - names of our columns
            _keep_errors(db, item.job, [result for result in results if result.state == "failed"])
            db.execute("UPDATE jobs SET items_done = items_done + ? WHERE number = ?", (done, item.job))
            db.execute(
                "UPDATE jobs SET state = 'done', finished_at = ? WHERE number = ? AND finished_at IS NULL AND items_done = items",
                (now(), item.job),
            )
        self._spool.remove([item.path.name])

    # -- what is told of jobs ----------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        """A job with its errors; raises JobNotFound."""
        with self._database.transaction() as db:
            return _job(db, _row(db, job_id))

    def list(self, request: ListJobsRequest) -> JobPage:
        """One page of the jobs, newest first, without their errors."""
        before = _LAST_CURSOR if request.cursor is None else _number(request.cursor)
        with self._database.transaction() as db:
            rows = db.execute(
                "SELECT * FROM jobs WHERE number < ?1 AND (?2 IS NULL OR collection = ?2) AND (?3 IS NULL OR state = ?3) "
                "ORDER BY number DESC LIMIT ?4",
                (before, request.collection, request.state, request.limit + 1),
            ).fetchall()
        page = rows[: request.limit]
        return JobPage(jobs=tuple(_as_job(row) for row in page), next=str(page[-1]["number"]) if len(rows) > len(page) else None)

    def cancel(self, job_id: str) -> Job:
        """Drop the items of a job that wait; a job that has finished stays as it is. Raises JobNotFound."""
        with self._database.transaction() as db:
            number = _row(db, job_id)["number"]
            files = [file for (file,) in db.execute("DELETE FROM items WHERE job = ? RETURNING file", (number,))]
            with changing_job(db, number):
                db.execute("UPDATE jobs SET state = 'cancelled', finished_at = ? WHERE number = ? AND finished_at IS NULL", (now(), number))
            job = _job(db, _row(db, job_id))
        self._spool.remove(files)
        return job


def _row(db: sqlite3.Connection, job_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise JobNotFound(f"there is no job {job_id!r}; finished ones are forgotten after some days (jobs.keep_days)")
    return row


def _job(db: sqlite3.Connection, row: sqlite3.Row) -> Job:
    errors = db.execute("SELECT * FROM errors WHERE job = ? ORDER BY rowid", (row["number"],))
    return _as_job(row, (DocumentResult.model_validate_json(error["result"]) for error in errors))


def _as_job(row: sqlite3.Row, errors: Iterable[DocumentResult] = ()) -> Job:
    return Job(
        id=row["id"],
        collection=row["collection"],
        state=row["state"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        items=row["items"],
        items_done=row["items_done"],
        documents=DocumentCounts(**{state: row[state] for state in DocumentCounts.model_fields}),
        errors=tuple(errors),
    )


def _keep_errors(db: sqlite3.Connection, job: int, failed: Sequence[DocumentResult]) -> None:
    (kept,) = db.execute("SELECT count(*) FROM errors WHERE job = ?", (job,)).fetchone()
    rows = [(job, result.model_dump_json()) for result in failed[: MAX_JOB_ERRORS - kept]]
    db.executemany("INSERT INTO errors (job, result, crc) VALUES (?, ?, ?)", [(*row, checksum(row)) for row in rows])


def _number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdecimal() and int(cursor[:20]) <= _LAST_CURSOR):
        raise InvalidRequest(f"cursor: {cursor[:100]!r} is not the `next` of a page")
    return int(cursor)
