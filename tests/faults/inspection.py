"""Whether a store holds what it must and answers by it, asked from outside: documents, searches in all modes, its own verification."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from core.schemas import DocumentRef, ListRequest, Mode, Passage, SplitDocument
from services.retriever.engine import RetrievalEngine
from services.retriever.folder import CURRENT_NAME
from services.retriever.repairing import repair_folder
from tests.faults.scenario import Key, Ledger, Version, all_versions, document, open_engine, word_of
from tests.services.retriever.samples import asking, unit_vector, vectors_of

MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
ALL = 100
_PROBE = Key("other", "probe")

Held = Mapping[Key, int]


def faults(data: Path, ledger: Ledger) -> Iterator[str]:
    """Everything that is wrong with the store in `data`, which nobody has open; it has to take one more document, too."""
    if ledger.is_damaged and (data / CURRENT_NAME).exists():
        list(repair_folder(data, accept_loss=False))
    engine = open_engine(data)
    try:
        held = dict(held_versions(engine))
        yield from ledger.losses
        yield from _of_documents(held, engine, ledger)
        yield from _of_salvaged(data, held, ledger)
        yield from of_searches(engine, held)
        yield from (f"verify: {fault}" for fault in engine.verify())
        yield from _of_one_more(engine, held)
    finally:
        engine.close()


def everywhere(engine: RetrievalEngine) -> list[str]:
    """All collections; the default one is always there."""
    return sorted({"default", *(one.name for one in engine.collections().collections)})


def held_versions(engine: RetrievalEngine) -> Iterator[tuple[Key, int]]:
    """The documents of the store and their versions, as its list gives them."""
    cursor = None
    while True:
        page = engine.list(ListRequest(limit=3, cursor=cursor))
        yield from ((Key(row.collection, row.id), int(row.metadata["version"])) for row in page.documents)
        cursor = page.next
        if cursor is None:
            return


def _of_documents(held: Held, engine: RetrievalEngine, ledger: Ledger) -> Iterator[str]:
    listed = [key for key, _ in held_versions(engine)]
    if len(listed) != len(held):
        yield f"a document is listed twice: {listed}"
    for key in held.keys() | ledger.allowed.keys():
        version: Version = held.get(key)
        if version not in ledger.allowed[key]:
            yield f"{key} has version {version}, allowed are {ledger.allowed[key]}"
        elif version is not None and not _is_whole(engine, key, version):
            yield f"{key} is not what was sent"


def _of_salvaged(data: Path, held: Held, ledger: Ledger) -> Iterator[str]:
    lines = salvaged_lines(data)
    for key, version in ledger.salvaged.items():
        sent = document(key, version).document
        line = {"id": sent.id, "title": sent.title, "text": sent.text, "metadata": sent.metadata}
        copies = int(held.get(key) == version) + lines[key.collection].count(line)
        if copies != 1 or len([one for one in lines[key.collection] if one["id"] == key.id]) > 1:
            yield f"{key} was salvaged and is there {copies} times: {lines[key.collection]}"


def salvaged_lines(data: Path) -> dict[str, list[dict[str, object]]]:
    """What `ekiben repair` has taken out of the store, by collection."""
    files = {path.stem.removeprefix("salvaged-"): path.read_text(encoding="utf-8") for path in data.glob("salvaged-*.jsonl")}
    return defaultdict(list, {name: [json.loads(line) for line in text.splitlines()] for name, text in files.items()})


def _is_whole(engine: RetrievalEngine, key: Key, version: int) -> bool:
    sent, stored = document(key, version), engine.get(DocumentRef(id=key.id, collection=key.collection))
    expected = (sent.document.text, sent.document.title, sent.document.metadata, sent.document.hash_content(), len(sent.chunks))
    return (stored.text, stored.title, stored.metadata, stored.content_hash, stored.chunks) == expected


def of_searches(engine: RetrievalEngine, held: Held) -> Iterator[str]:
    """What searches answer that the documents of the store don't say, or don't answer though these do."""
    chunks = sorted((key, chunk.start, chunk.text) for key, version in held.items() for chunk in document(key, version).chunks)
    found = engine.search(asking("anything", mode="dense", top_k=ALL, collections=everywhere(engine)), unit_vector("anything")).passages
    if sorted(map(_place, found)) != chunks:
        yield f"a dense search for everything found {sorted(_place(passage)[:2] for passage in found)}"
    for key, version in all_versions() | held.items():
        for mode in MODES:
            yield from _of_search(engine, key, version, mode, is_held=held.get(key) == version)


def _place(passage: Passage) -> tuple[Key, int, str]:
    return Key(passage.collection, passage.document_id), passage.start, passage.text


def _of_search(engine: RetrievalEngine, key: Key, version: int, mode: Mode, *, is_held: bool) -> Iterator[str]:
    """One chunk is asked for by its word and its vector: it is the first answer, or none."""
    chunk = document(key, version).chunks[1]
    request = asking(word_of(key, version, 1), mode=mode, top_k=ALL, collections=everywhere(engine))
    passages = engine.search(request, unit_vector(chunk.text)).passages
    hits = [place for place, passage in enumerate(passages) if passage.text == chunk.text and _place(passage)[0] == key]
    if hits != ([0] if is_held else []):
        yield f"{mode}: {key} version {version}, which is {'' if is_held else 'not '}held, came at {hits}"
    if mode == "lexical" and len(passages) != is_held:
        yield f"lexical: a word of one chunk found {len(passages)}"
    if is_held and mode != "lexical" and passages and abs((passages[0].scores.dense or 0) - 1) > 1e-3:
        yield f"{mode}: {key} version {version} has another vector: cosine {passages[0].scores.dense}"


def _of_one_more(engine: RetrievalEngine, held: Held) -> Iterator[str]:
    probe: SplitDocument = document(_PROBE, 1)
    engine.add(probe, vectors_of(probe))
    yield from (f"after one more document: {fault}" for fault in of_searches(engine, {**held, _PROBE: 1}))
    engine.delete(DocumentRef(id=_PROBE.id, collection=_PROBE.collection))
