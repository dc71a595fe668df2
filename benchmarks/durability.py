"""What it costs to have each document on the disk before it is acknowledged: `python benchmarks/durability.py`.

Stores and deletes documents of one chunk through the store, in rounds that take the variants in turn; medians over the rounds.
"""

import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

from core.schemas import Chunk, Document, DocumentRef, EncoderInfo, SplitDocument
from services.retriever.database import Database
from services.retriever.store import DocumentStore

DIM = 384
DOCUMENTS = 200
ROUNDS = 5
TEXT = "A paragraph of a common length, as there are many in documents. " * 12
VARIANTS = {
    "as it is": (),
    "secure_delete off": ("PRAGMA secure_delete = OFF",),
    "synchronous = NORMAL (a power loss takes the last commits)": ("PRAGMA synchronous = NORMAL",),
    "synchronous = OFF (a power loss may take the store)": ("PRAGMA synchronous = OFF",),
}


def main() -> None:
    """Print milliseconds a document for each variant."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name, pragmas in VARIANTS.items():
            times[name].append(_measure(pragmas))
    print("| variant | ms to add | ms to delete |\n| --- | --- | --- |")
    for name, rounds in times.items():
        adding, deleting = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"| {name} | {adding:.2f} | {deleting:.2f} |")


def _measure(pragmas: tuple[str, ...]) -> tuple[float, float]:
    connect = Database._connect

    def altered(self: Database) -> object:
        connection = connect(self)
        for pragma in pragmas:
            connection.execute(pragma)
        return connection

    with tempfile.TemporaryDirectory(dir=".") as folder, mock.patch.object(Database, "_connect", altered):
        store = DocumentStore.open(Path(folder) / "store-1.db")
        store.bind_encoder(
            EncoderInfo(fingerprint="f", model="m", dim=DIM, max_tokens=256, pooling="mean", weights_sha256="", device="cpu", dtype="float32")
        )
        vector = np.full((1, DIM), DIM**-0.5, np.float32)
        adding = _timed(lambda number: store.put(_document(number), vector))
        deleting = _timed(lambda number: store.delete(DocumentRef(id=str(number))))
        store.close()
    return adding, deleting


def _timed(work: object) -> float:
    started = time.perf_counter()
    for number in range(DOCUMENTS):
        work(number)
    return (time.perf_counter() - started) / DOCUMENTS * 1_000


def _document(number: int) -> SplitDocument:
    text = f"{number} {TEXT}"
    return SplitDocument(document=Document(id=str(number), text=text), chunks=(Chunk(ordinal=0, start=0, end=len(text), text=text),), encoder="f")


if __name__ == "__main__":
    main()
