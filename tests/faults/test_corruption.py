"""Every file of the data folder, damaged in many ways: the damage is reported or harmless, and never a wrong answer; repair mends it or refuses."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.errors import EkibenError, IndexMismatch, InternalError, StartupError, StoreCorrupt
from core.schemas import DocumentRef, StoredDocument
from services.retriever.engine import RetrievalEngine
from services.retriever.repairing import repair_folder
from tests.faults.damaging import damages
from tests.faults.inspection import MODES, everywhere, held_versions, salvaged_lines
from tests.faults.scenario import SCENARIO, Key, Session, Step, all_versions, document, open_engine, word_of
from tests.services.retriever.samples import asking, unit_vector

Answers = dict[str, Any]

FEW = 3
_SMALL = 512
MANY = pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(3_600)])
_WAY_OUT = ("restore", "repair", "ingest", "reindex", "upgrade", "another folder")


@dataclass(frozen=True)
class Sound:
    """A store as a process leaves it (one that was killed leaves a log), what it answers and holds, and the folder of another store."""

    folder: Path
    answers: Answers
    held: frozenset[Key]
    other: Path


@pytest.fixture(scope="module", params=["closed", "killed"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sound:
    folder = tmp_path_factory.mktemp("sound")
    with _played(folder / "open", SCENARIO) as engine, _played(folder / "other", SCENARIO[:9]):
        shutil.copytree(folder / "open", folder / "killed")
        shutil.copytree(folder / "other", folder / "other killed")
        answers, held = _answers(engine), frozenset(dict(held_versions(engine)))
    shutil.copytree(folder / "open", folder / "closed")
    return Sound(folder / request.param, answers, held, folder / "other killed")


@contextmanager
def _played(data: Path, steps: Sequence[Step]) -> Iterator[RetrievalEngine]:
    """The engine of a new store after `steps`."""
    session = Session(data)
    try:
        for step in steps:
            step.run(session)
        yield session.open
    finally:
        session.close()


def _answers(engine: RetrievalEngine) -> Answers:
    """All that the store can be asked for: its documents, and a search for every chunk that there ever was."""
    held = dict(held_versions(engine))
    answers: Answers = {f"{key}": _got(engine, key) for key in held}
    for key, version in sorted(all_versions()):
        for mode in MODES:
            request = asking(word_of(key, version, 1), mode=mode, top_k=100, collections=everywhere(engine))
            answers[f"{mode} {key} {version}"] = engine.search(request, unit_vector(document(key, version).chunks[1].text)).passages
    return answers


def _got(engine: RetrievalEngine, key: Key) -> StoredDocument:
    """A document, but for the time at which it was added: its hash is not of that."""
    return engine.get(DocumentRef.model_construct(id=key.id, collection=key.collection)).model_copy(update={"added_at": ""})


def _files(sound: Sound) -> list[Path]:
    return sorted(path for path in sound.folder.iterdir() if path.is_file())


def _verdict(data: Path, sound: Sound) -> str:
    """What comes of opening and asking a damaged store. What hides or mislabels something may be left to `verify`; a false quotation may not."""
    try:
        engine = open_engine(data)
    except EkibenError as error:
        return _clear(error)
    try:
        answers = _answers(engine)
        if answers == sound.answers:
            return "sound"
        if false := _quoted(answers) - _quoted(sound.answers):
            return f"false quotations: {false}"
        return "left to verify" if engine.verify() else "wrong"
    except (EkibenError, KeyError) as error:  # a key of its metadata
        verdict = _clear(error)
        return "left to verify" if verdict != "reported" and _is_told(engine) else verdict
    finally:
        engine.close()


def _quoted(answers: Answers) -> set[object]:
    """The passages in `answers`, and the texts of the documents."""
    passages = {(one.start, one.text) for found in answers.values() if isinstance(found, tuple) for one in found}
    return passages | {one.text for one in answers.values() if isinstance(one, StoredDocument)}


def _is_told(engine: RetrievalEngine) -> bool:
    try:
        return engine.verify() != ()
    except StoreCorrupt:
        return True


def _clear(error: EkibenError | KeyError) -> str:
    is_expected = isinstance(error, StartupError | InternalError | IndexMismatch) and any(way in error.message for way in _WAY_OUT)
    return "reported" if is_expected else f"unclear: {error!r}"


def _damaged(sound: Sound, name: str, content: bytes | None, target: Path) -> Path:
    shutil.copytree(sound.folder, target)
    (target / name).unlink() if content is None else (target / name).write_bytes(content)
    return target


def _damages(sound: Sound, times: int) -> Iterator[tuple[str, str, bytes | None]]:
    for number, file in enumerate(_files(sound)):
        sound_content = file.read_bytes()
        for damage, content in damages(sound_content, times if len(sound_content) > _SMALL else FEW, number):
            yield file.name, damage, content
        for other in sound.other.glob(f"*{file.suffix}" if "-" in file.stem else file.name):
            yield file.name, f"replaced by {other.name} of another store", other.read_bytes()


def _mended(data: Path, sound: Sound) -> str:
    """What comes of repairing a damaged store."""
    try:
        list(repair_folder(data, accept_loss=False))
        engine = open_engine(data)
    except EkibenError as error:
        return _clear(error)
    try:
        if faults := engine.verify():
            return f"not mended: {faults}"
        held, lines = dict(held_versions(engine)), salvaged_lines(data)
        texts = {line["text"] for line in lines["misnamed"]}
        lost = [
            key
            for key in sound.held
            if key not in held and all(line["id"] != key.id for line in lines[key.collection]) and sound.answers[str(key)].text not in texts
        ]
        wrong = [key for key in held if _got(engine, key) != sound.answers.get(str(key))]
        if lost or wrong:
            return f"lost {lost}, changed {wrong}"
        return "mended" if held.keys() != sound.held or _answers(engine) == sound.answers else "answers otherwise"
    except EkibenError as error:
        return f"repaired and yet {error!r}"
    finally:
        engine.close()


@pytest.mark.parametrize("times", [FEW, MANY])
def test_damage_is_reported_or_harmless_and_repair_mends_it_or_refuses(sound: Sound, tmp_path: Path, times: int) -> None:
    found, verdicts = [], set()
    for number, (name, damage, content) in enumerate(_damages(sound, times)):
        data = _damaged(sound, name, content, tmp_path / str(number))
        verdict = _verdict(data, sound)
        if verdict in ("reported", "left to verify"):
            verdict = _mended(data, sound)
        verdicts.add(verdict)
        if verdict not in ("sound", "reported", "mended"):
            found.append(f"{name} {damage} {number}: {verdict}")
        else:
            shutil.rmtree(data)
    assert found == []
    assert verdicts == {"sound", "reported", "mended"}
