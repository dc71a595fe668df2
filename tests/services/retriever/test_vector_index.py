from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.retriever.vector_index import VectorIndex
from tests.services.retriever.samples import DIM, unit_vector

QUERY = unit_vector("what is asked")


def _vectors(ids: list[int]) -> np.ndarray:
    return np.array([unit_vector(str(id_)) for id_ in ids], np.float32).reshape(-1, DIM)


def _ids(ids: list[int]) -> np.ndarray:
    return np.array(ids, np.int64)


class BesideAnExactTwin(RuleBasedStateMachine):
    """Adds, removals and searches of the index, compared with a dictionary and NumPy."""

    @initialize()
    def start(self) -> None:
        self.index = VectorIndex(DIM)
        self.twin: dict[int, np.ndarray] = {}
        self.next_id = 1

    @rule(count=st.integers(0, 6), gap=st.integers(0, 5))
    def add(self, count: int, gap: int) -> None:
        ids = list(range(self.next_id + gap, self.next_id + gap + count))
        self.next_id += gap + count
        self.index.add(_ids(ids), _vectors(ids))
        self.twin |= dict(zip(ids, _vectors(ids), strict=True))

    @rule(ids=st.lists(st.integers(1, 40), unique=True, max_size=6))
    def remove(self, ids: list[int]) -> None:
        self.index.remove(_ids(ids))
        self.twin = {id_: vector for id_, vector in self.twin.items() if id_ not in ids}

    @rule(k=st.integers(1, 50), allowed=st.none() | st.lists(st.integers(1, 60), unique=True))
    def search(self, k: int, allowed: list[int] | None) -> None:
        found = self.index.search(QUERY, k, None if allowed is None else _ids(allowed))
        exact = {id_: float(vector @ QUERY) for id_, vector in self.twin.items() if allowed is None or id_ in allowed}
        best = sorted(exact, key=exact.__getitem__, reverse=True)[:k]
        assert found == pytest.approx({id_: exact[id_] for id_ in best}, abs=1e-6)

    @invariant()
    def holds_as_many(self) -> None:
        assert len(self.index) == len(self.twin)


TestBesideAnExactTwin = BesideAnExactTwin.TestCase
TestBesideAnExactTwin.settings = settings(deadline=None)


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**6), unique=True, min_size=1, max_size=20))
def test_finds_every_vector_as_its_own_nearest(ids: list[int]) -> None:
    index = VectorIndex(DIM)
    index.add(_ids(ids), _vectors(ids))
    assert [next(iter(index.search(unit_vector(str(id_)), 1))) for id_ in ids] == ids


def test_takes_a_read_only_query_as_it_comes_off_the_wire() -> None:
    index = VectorIndex(DIM)
    index.add(_ids([1]), _vectors([1]))
    query = unit_vector("1")
    query.setflags(write=False)
    assert index.search(query, 5) == pytest.approx({1: 1.0})


def test_a_search_waits_while_the_index_changes() -> None:
    index = VectorIndex(DIM)
    index.add(_ids([1]), _vectors([1]))
    with ThreadPoolExecutor(1) as pool:
        with index._lock.writing():
            search = pool.submit(index.search, QUERY, 1)
            with pytest.raises(TimeoutError):
                search.result(timeout=0.1)
        assert search.result().keys() == {1}


def test_a_replacement_is_never_seen_halfway() -> None:
    """Every search sees all three vectors of one version, whatever is replaced meanwhile."""
    index = VectorIndex(DIM)
    index.add(_ids([0, 1, 2]), _vectors([0, 1, 2]))

    def replace_often() -> None:
        for version in range(1, 300):
            ids = [3 * version, 3 * version + 1, 3 * version + 2]
            index.replace(_ids([id_ - 3 for id_ in ids]), _ids(ids), _vectors(ids))

    def look_often() -> set[tuple[int, ...]]:
        return {tuple(sorted(index.search(QUERY, 10))) for _ in range(600)}

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(look_often) for _ in range(3)]
        pool.submit(replace_often).result()
        seen = set().union(*(reader.result() for reader in readers))
    assert all(len(ids) == 3 and ids[0] % 3 == 0 and ids == (ids[0], ids[0] + 1, ids[0] + 2) for ids in seen)
