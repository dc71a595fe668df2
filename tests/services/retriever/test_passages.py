import pytest

from core.errors import StoreCorrupt
from services.retriever import passages
from services.retriever.passages import chunk_ids, cosines, fetch, stored_vectors
from tests.services.retriever.samples import DIM, database_of, split, unit_vector, vectors_of

DOCUMENT = split("id", "one", "two", "three")


def test_chunks_that_are_not_there_are_left_out() -> None:
    assert {id_: chunk.text for id_, chunk in fetch(database_of(DOCUMENT), [3, 9, 1]).items()} == {1: "one", 3: "three"}


def test_cosines_are_those_of_the_stored_vectors() -> None:
    query = unit_vector("query")
    exact = {id_: float(vector @ query) for id_, vector in enumerate(vectors_of(DOCUMENT), start=1)}
    assert cosines(database_of(DOCUMENT), [2, 3, 9], query) == pytest.approx({id_: exact[id_] for id_ in (2, 3)})
    assert cosines(database_of(DOCUMENT), [], query) == {}


def test_vectors_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passages, "VECTORS_PER_READ", 2)
    connection = database_of(DOCUMENT)
    assert [ids.tolist() for ids, _ in stored_vectors(connection, DIM, chunk_ids(connection))] == [[1, 2], [3]]


def test_a_vector_of_another_size_is_damage() -> None:
    connection = database_of(DOCUMENT)
    connection.execute("UPDATE vectors SET vector = x'00' WHERE chunk = 2")
    for read in (lambda: list(stored_vectors(connection, DIM, chunk_ids(connection))), lambda: cosines(connection, [2], unit_vector("query"))):
        with pytest.raises(StoreCorrupt, match="vector of chunk 2 is damaged"):
            read()
