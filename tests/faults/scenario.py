"""What a store is put through, step by step, and the ledger of what it must hold afterwards, whatever happened on the way."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import DocumentNotFound
from core.schemas import CollectionRef, DocumentRef, SplitDocument
from core.settings import load_settings
from services.retriever.backup import back_up
from services.retriever.database import Database
from services.retriever.differing import differences
from services.retriever.engine import RetrievalEngine
from services.retriever.folder import CURRENT_NAME, current_name
from services.retriever.repairing import repair_folder
from tests.services.retriever.samples import DIM, ENCODER, split, vectors_of


class Key(NamedTuple):
    """Names one document."""

    collection: str
    id: str


Version = int | None
"""The number of a document's text; None where it is not stored."""


@cache
def document(key: Key, version: int) -> SplitDocument:
    """A document of three chunks; each holds a word that no other chunk and no other version has."""
    texts = [f"{word_of(key, version, chunk)} is what chunk {chunk} says. " + f"{key.id} goes by rail {chunk}. " * 12 for chunk in range(3)]
    return split(key.id, *texts, collection=key.collection, title=f"Title {key.id}", metadata={"version": version})


def word_of(key: Key, version: int, chunk: int) -> str:
    """The word that stands in this chunk alone."""
    return f"{key.collection}{key.id}v{version}c{chunk}"


def open_engine(data: Path) -> RetrievalEngine:
    """The engine on the store in `data`; a snapshot of the vector index is due often."""
    engine = RetrievalEngine.open(load_settings({"retriever": {"data_dir": str(data), "compact_after": 8}}).retriever)
    engine.bind_encoder(ENCODER)
    return engine


@dataclass
class Session:
    """A process's store, which some steps close and open again."""

    data: Path
    engine: RetrievalEngine | None = None

    @property
    def open(self) -> RetrievalEngine:
        """The engine, opened where the step before failed to."""
        if self.engine is None:
            self.engine = open_engine(self.data)
        return self.engine

    def close(self) -> None:
        """Close the engine, if it is open."""
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.close()


@dataclass(frozen=True)
class Step:
    """One call of the store: the place in which a fault strikes, what is called, and what it makes of which documents.

    `salvages`: documents that leave the store for the file of what is salvaged, and are as good as stored there.
    """

    place: str
    run: Callable[[Session], object]
    effect: Mapping[Key, Version] = field(default_factory=dict)
    salvages: Mapping[Key, int] = field(default_factory=dict)


def _add(id_: str, version: int, collection: str = "default") -> Step:
    key = Key(collection, id_)
    split_ = document(key, version)
    return Step("add", lambda session: session.open.add(split_, vectors_of(split_)), {key: version})


def _delete(id_: str, collection: str = "default") -> Step:
    return Step("delete", lambda session: session.open.delete(DocumentRef(id=id_, collection=collection)), {Key(collection, id_): None})


def _compact() -> Step:
    return Step("compact", lambda session: session.open.compact())


def _stage() -> Step:
    """Vectors of a document that never comes."""
    return Step("stage", lambda session: session.open.stage(ENCODER.fingerprint, ["a passage"], np.ones((1, DIM), np.float32)))


def _reindex() -> Step:
    """A reindexing as the service does it, with the same encoder, so that the steps after it need no other vectors."""

    def run(session: Session) -> None:
        engine = session.open
        beside = engine.open_beside(ENCODER)
        beside.take_collections(engine.collections())
        found = differences(engine.store, beside)
        for ref in found.surplus:
            beside.delete(ref)
        for ref in found.missing:
            split_ = document(Key(ref.collection, ref.id), int(engine.get(ref).metadata["version"]))
            beside.put(split_, vectors_of(split_))
        assert engine.become(beside, ENCODER)

    return Step("reindex", run)


def _restore() -> Step:
    """A backup of what is stored comes back."""

    def run(session: Session) -> None:
        incoming = session.data / "incoming.db"
        back_up(session.data, incoming)
        session.open.adopt_backup()

    return Step("restore", run)


_HARM = (
    "UPDATE vectors SET vector = zeroblob(length(vector)) WHERE chunk IN (SELECT chunks.id FROM chunks JOIN documents ON number = document "
    "WHERE documents.id = 'g' AND ordinal = 1)",
    "DELETE FROM chunks WHERE ordinal = 1 AND document = (SELECT number FROM documents WHERE id = 'h')",
    "DELETE FROM facets",
    "UPDATE collections SET chunks = chunks + 1",
    "INSERT INTO chunk_index (rowid, title, headings, text) VALUES (1000000, '', '', 'astray')",
)


def _repair() -> Step:
    """A store that lost the name of its database, a vector of `g`, a chunk of `h` and what is derived, and `ekiben repair`."""

    def run(session: Session) -> None:
        session.close()
        with closing(Database.open(session.data / current_name(session.data))) as database, database.writing() as connection:
            for statement in _HARM:
                connection.execute(statement)
        with suppress(OSError):
            (session.data / CURRENT_NAME).write_text("gone")
        list(repair_folder(session.data, accept_loss=False))

    kept = {Key("default", id_): 1 for id_ in "gh"}
    return Step("repair", run, dict.fromkeys(kept), kept)


def _delete_collection(name: str, *ids: str) -> Step:
    return Step("collection", lambda session: session.open.delete_collection(CollectionRef(name=name)), {Key(name, id_): None for id_ in ids})


def _reopen() -> Step:
    def run(session: Session) -> None:
        session.close()
        assert session.open

    return Step("reopen", run)


SCENARIO: tuple[Step, ...] = (
    _reopen(),
    _add("a", 1),
    _add("b", 1),
    _add("c", 1, "other"),
    _add("a", 2),
    _add("b", 1),
    _delete("b"),
    _compact(),
    _reopen(),
    _add("d", 1),
    _delete("c", "other"),
    _add("b", 2),
    _add("e", 1, "other"),
    _delete("a"),
    _compact(),
    _add("a", 1),
    _stage(),
    _reindex(),
    _add("f", 1, "other"),
    _delete_collection("other", "e", "f"),
    _restore(),
    _add("e", 1, "other"),
    _compact(),
    _reopen(),
    _delete("a"),
    _add("g", 1),
    _add("h", 1),
    _repair(),
    _add("d", 2),
    _delete("e", "other"),
)


class Ledger:
    """Which versions each document may have now: one where the last call for it was acknowledged, more where it was not.

    `salvaged` documents are in the file where they are not in the store. A store that `is_damaged` has to be repaired first.
    """

    def __init__(self) -> None:
        self.allowed: defaultdict[Key, set[Version]] = defaultdict(lambda: {None})
        self.place = "start"
        self.losses: list[str] = []
        self.salvaged: dict[Key, int] = {}
        self.is_damaged = False
        self._before: dict[Key, set[Version]] = {}

    def begin(self, step: Step) -> None:
        """`step` may have happened or not from now on."""
        self.place = step.place
        self.salvaged.update({key: version for key, version in step.salvages.items() if self.allowed[key] == {version}})
        self.is_damaged = self.is_damaged or bool(step.salvages)
        self._before = {key: self.allowed[key] for key in step.effect}
        for key, version in step.effect.items():
            self.allowed[key] = self.allowed[key] | {version}

    def acknowledge(self, step: Step) -> None:
        """`step` has happened."""
        self.is_damaged = self.is_damaged and not step.salvages
        for key, version in step.effect.items():
            self.allowed[key] = {version}

    def fail(self, step: Step, code: str) -> None:
        """`step` was answered with the error `code`; a document that can't be found must not be one that was acknowledged."""
        if code == DocumentNotFound.code:
            # What was answered with an error may be there after a restart: SQLite reports a commit as failed whose log the disk still has.
            self.losses += [f"{key} was not there to be deleted" for key, versions in self._before.items() if None not in versions]


def all_versions(steps: Iterable[Step] = SCENARIO) -> frozenset[tuple[Key, int]]:
    """Every document in every version that the scenario ever stores."""
    return frozenset((key, version) for step in steps for key, version in step.effect.items() if version is not None)
