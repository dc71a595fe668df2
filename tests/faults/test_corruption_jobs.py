"""Every file of the folder of jobs, damaged in many ways: the start is refused, or each upload is stored as it was sent or named as damaged."""

import asyncio
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.errors import DocumentEmpty, EkibenError, InvalidSettings, StoreCorrupt, UploadDamaged
from core.schemas import DEFAULT_COLLECTION, DocumentResult, FieldMap, Job, ListJobsRequest
from core.settings import JobsSettings, load_settings
from pipelines.ingestion.ingest import IngestDocuments
from pipelines.ingestion.isolating import IsolatedLoader
from pipelines.ingestion.loading import load_file
from pipelines.ingestion.refusing import Loaded
from services.gateway.jobs.queue import JobQueue, Upload
from services.gateway.jobs.runner import Jobs
from tests.faults.damaging import damages
from tests.services.gateway.fakes import FakeRetriever

SETTINGS = load_settings()
FEW = 1
MANY = pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(3_600)])
STUCK_S = 30.0
_WAY_OUT = ("send again", "another folder", "name another")

DOCUMENTS = {"a": ["a"], "b.txt": ["b.txt"], "c": ["c"], "many.jsonl": ["d0", "d1"], "e.txt": ["e.txt"]}
"""The documents of each upload that waits, by the names of both."""


class LoaderInPlace(IsolatedLoader):
    """Loads in this process, which is faster."""

    def load_file(self, path: Path, *, id: str, name: str | None = None, fields: FieldMap = FieldMap()) -> list[Loaded]:  # noqa: A002, B008
        return load_file(path, id=id, limits=SETTINGS.ingestion, name=name, fields=fields)


@dataclass(frozen=True)
class Outcome:
    """What became of all jobs, but for times, and the texts that were stored."""

    jobs: dict[str, dict[str, object]]
    texts: dict[str, str]


@dataclass(frozen=True)
class Sound:
    """A folder as a process leaves it (one that was killed leaves a log), another one, and what comes of the first."""

    folder: Path
    other: Path
    outcome: Outcome


def _text(name: str) -> str:
    return " ".join([f"The train to {name} leaves at noon."] * 40)


def _upload(name: str) -> Upload:
    if name.endswith(".jsonl"):
        content = "\n".join(json.dumps({"_id": id_, "text": _text(id_)}) for id_ in DOCUMENTS[name])
    else:
        content = _text(name) if name.endswith(".txt") else json.dumps({"id": name, "text": _text(name)})
    return Upload(name, "file" if "." in name else "json", io.BytesIO(content.encode()))


def _limits(folder: Path) -> JobsSettings:
    return SETTINGS.jobs.model_copy(update={"data_dir": folder})


def _filled(folder: Path, *names: str) -> JobQueue:
    """One job that is done, with an error, and one that is running; their uploads wait, the first for the second time."""
    queue = JobQueue.open(_limits(folder))
    done = queue.submit("other", FieldMap(), [Upload("bad", "json", io.BytesIO(b"{}"))])
    item = queue.take()
    assert item is not None
    queue.finish(item, [DocumentResult(id="bad", state="failed", error=DocumentEmpty("bad: holds no text").info())])
    queue.submit(DEFAULT_COLLECTION, FieldMap(title="name"), [_upload(name) for name in names[:3]])
    queue.submit(DEFAULT_COLLECTION, FieldMap(), [_upload(name) for name in names[3:]])
    assert queue.take() is not None
    assert queue.get(done.id).state == "done"
    return queue


@pytest.fixture(scope="module", params=["closed", "killed"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sound:
    folder = tmp_path_factory.mktemp("jobs")
    with ExitStack() as both:
        for name in ("open", "other"):
            queue = _filled(folder / name, *DOCUMENTS)
            both.callback(queue.close)
            shutil.copytree(folder / name, folder / f"{name} killed")
    jobs, other = (folder / (name if request.param == "closed" else f"{name} killed") for name in ("open", "other"))
    shutil.copytree(jobs, folder / "worked off")
    outcome = asyncio.run(_worked_off(folder / "worked off"))
    assert {job["state"] for job in outcome.jobs.values()} == {"done"}
    assert outcome.texts == {id_: _text(id_) for ids in DOCUMENTS.values() for id_ in ids}
    return Sound(jobs, other, outcome)


async def _worked_off(folder: Path) -> Outcome:
    """Start on the folder, and wait until all jobs have ended."""
    retriever = FakeRetriever()
    ingest = IngestDocuments(retriever, retriever, SETTINGS.ingestion)
    jobs = Jobs(_limits(folder), SETTINGS.ingestion, ingest, LoaderInPlace(SETTINGS.ingestion), first_pause_s=0.001)
    async with jobs.running(), asyncio.timeout(STUCK_S):
        found = await asyncio.to_thread(_all_jobs, jobs.queue)
        while any(job.finished_at is None for job in found):
            found = await asyncio.to_thread(_all_jobs, jobs.queue)
    texts = {id_: one.document.text.strip() for (_, id_), one in retriever.stored.items()}
    return Outcome({job.id: job.model_dump(exclude={"created_at", "started_at", "finished_at"}) for job in found}, texts)


def _all_jobs(queue: JobQueue) -> list[Job]:
    return [queue.get(job.id) for job in queue.list(ListJobsRequest()).jobs]


def _verdict(folder: Path, sound: Sound) -> str:
    try:
        outcome = asyncio.run(_worked_off(folder))
    except TimeoutError:
        return "stuck"
    except EkibenError as error:
        is_clear = isinstance(error, StoreCorrupt | InvalidSettings) and any(way in error.message for way in _WAY_OUT)
        return "refused" if is_clear else f"unclear: {error!r}"
    if outcome == sound.outcome:
        return "sound"
    return _of_uploads(outcome, sound.outcome)


def _of_uploads(outcome: Outcome, expected: Outcome) -> str:
    """Whether what is missing, and nothing else, is named as damaged in its job."""
    damaged = {id_ for job in outcome.jobs.values() for id_ in _named_as_damaged(job)}
    missing = {id_ for name in damaged for id_ in DOCUMENTS.get(name, [name])}
    same_jobs = {key: _plan(job) for key, job in outcome.jobs.items()} == {key: _plan(job) for key, job in expected.jobs.items()}
    if damaged and same_jobs and outcome.texts == {id_: text for id_, text in expected.texts.items() if id_ not in missing}:
        return "named"
    return f"wrong: {damaged} damaged, {sorted(outcome.texts)} stored"


def _named_as_damaged(job: dict[str, object]) -> Iterator[str]:
    errors = job["errors"]
    assert isinstance(errors, tuple)
    return (error["id"] for error in errors if error["error"]["code"] == UploadDamaged.code)


def _plan(job: dict[str, object]) -> dict[str, object]:
    return {name: job[name] for name in ("collection", "state", "items", "items_done")}


def _damages(sound: Sound, times: int) -> Iterator[tuple[Path, str, bytes | None]]:
    files = sorted(path.relative_to(sound.folder) for path in sound.folder.rglob("*") if path.is_file())
    for number, file in enumerate(files):
        for damage, content in damages((sound.folder / file).read_bytes(), times, number):
            yield file, damage, content
        if (sound.other / file).exists():
            yield file, "replaced by that of another folder", (sound.other / file).read_bytes()


@pytest.mark.parametrize("times", [FEW, MANY])
def test_damage_is_refused_or_named_and_never_stored(sound: Sound, tmp_path: Path, times: int) -> None:
    found, verdicts = [], set()
    for number, (file, damage, content) in enumerate(_damages(sound, times)):
        folder = tmp_path / str(number)
        shutil.copytree(sound.folder, folder)
        (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
        verdict = _verdict(folder, sound)
        verdicts.add(verdict)
        if verdict not in ("sound", "named", "refused"):
            found.append(f"{file} {damage} {number}: {verdict}")
        shutil.rmtree(folder)
    assert found == []
    assert verdicts == {"sound", "named", "refused"}


@pytest.mark.parametrize("gone", ["jobs.db*", "jobs.db*,COMMITTED", "spool/*"])
def test_what_is_gone_is_not_taken_for_a_new_folder(sound: Sound, tmp_path: Path, gone: str) -> None:
    folder = tmp_path / "jobs"
    shutil.copytree(sound.folder, folder)
    for pattern in gone.split(","):
        for path in folder.glob(pattern):
            path.unlink()
    uploads = {path.name: path.read_bytes() for path in (folder / "spool").iterdir()}
    if uploads:
        for _ in range(2):  # the refusal leaves everything where it is
            with pytest.raises(StoreCorrupt, match="missing or empty"):
                JobQueue.open(_limits(folder))
        assert uploads == {path.name: path.read_bytes() for path in (folder / "spool").iterdir()}
    else:
        assert _verdict(folder, sound) == "named"
