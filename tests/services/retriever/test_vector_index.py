import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from core.errors import Internal
from core.settings import RetrieverSettings
from core.vectors import Vector
from services.retriever.base import ReadVectors, build_base
from services.retriever.schema import ChunkIds
from services.retriever.snapshot import SnapshotFile, keep_only
from services.retriever.vector_index import VectorIndex
from tests.services.retriever.samples import DIM, retriever_settings, unit_vector

QUERY = unit_vector("what is asked")
FLAT, INVERTED = 10**6, 0


def _vectors(ids: list[int]) -> np.ndarray:
    return np.array([unit_vector(str(id_)) for id_ in ids], np.float32).reshape(-1, DIM)


def _ids(ids: list[int]) -> np.ndarray:
    return np.array(ids, np.int64)


def _read(ids: ChunkIds) -> Iterator[tuple[ChunkIds, Vector]]:
    """What the store does: a few at a time."""
    for start in range(0, ids.size, 5):
        part = ids[start : start + 5]
        yield part, _vectors(part.tolist())


def _settings(folder: Path, exact_up_to: int = FLAT, compact_after: int = 10, probes: int = 1_000) -> RetrieverSettings:
    return retriever_settings(folder, exact_up_to=exact_up_to, probes=probes, compact_after=compact_after)


def _index(folder: Path, ids: list[int] | None = None) -> VectorIndex:
    index = VectorIndex(folder, DIM, _settings(folder))
    index.add(_ids(ids or []), _vectors(ids or []))
    return index


def _compact(index: VectorIndex, folder: Path, live: list[int], exact_up_to: int = FLAT, read: ReadVectors = _read) -> SnapshotFile:
    file = build_base(folder, DIM, _ids(sorted(live)), read, _settings(folder, exact_up_to))
    assert index.adopt(file)
    return file


def _exact(ids: list[int], query: np.ndarray = QUERY) -> dict[int, float]:
    return dict(zip(ids, (_vectors(ids) @ query).tolist(), strict=True))


class BesideAnExactTwin(RuleBasedStateMachine):
    """Adds, removals, new bases, restarts and searches of the index, compared with a set of ids and NumPy."""

    exact_up_to = FLAT
    tolerance = 1e-6

    @initialize()
    def start(self) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)
        self.index = VectorIndex(self.folder, DIM, _settings(self.folder, self.exact_up_to))
        self.twin: set[int] = set()
        self.committed: list[int] = []
        self.built: SnapshotFile | None = None
        self.named: SnapshotFile | None = None
        self.next_id = 1

    def teardown(self) -> None:
        if hasattr(self, "_temporary"):
            self._temporary.cleanup()

    @rule(count=st.integers(0, 6), gap=st.integers(0, 5))
    def add(self, count: int, gap: int) -> None:
        self.replace([], count, gap)

    @rule(ids=st.lists(st.integers(1, 40), unique=True, max_size=6), count=st.integers(0, 6), gap=st.integers(0, 5))
    def replace(self, ids: list[int], count: int, gap: int) -> None:
        added = list(range(self.next_id + gap, self.next_id + gap + count))
        self.next_id += gap + count
        self.index.replace(_ids(ids), _ids(added), _vectors(added))
        self.twin = (self.twin - set(ids)) | set(added)

    @rule(ids=st.lists(st.integers(1, 40), unique=True, max_size=6))
    def remove(self, ids: list[int]) -> None:
        self.index.remove(_ids(ids))
        self.twin -= set(ids)

    @rule()
    def build(self) -> None:
        self.built = build_base(self.folder, DIM, _ids(sorted(self.twin)), _read, _settings(self.folder, self.exact_up_to))

    @rule()
    def adopt_what_was_built(self) -> None:
        if self.built:
            assert self.index.adopt(self.built)
            self.named, self.built = self.built, None
            keep_only(self.folder, self.named)

    @rule(named=st.booleans())
    def reopen(self, named: bool) -> None:
        file = self.named if named else None
        self.index = VectorIndex.open(self.folder, DIM, file, _ids(sorted(self.twin)), _read, _settings(self.folder, self.exact_up_to))

    @rule(k=st.integers(1, 50), allowed=st.none() | st.lists(st.integers(1, 60), unique=True))
    def search(self, k: int, allowed: list[int] | None) -> None:
        found = self.index.search(QUERY, k, None if allowed is None else _ids(allowed))
        exact = _exact([id_ for id_ in self.twin if allowed is None or id_ in allowed])
        best = sorted(exact.values(), reverse=True)[:k]
        assert list(found.values()) == pytest.approx(best, abs=self.tolerance)
        assert found == pytest.approx({id_: exact[id_] for id_ in found}, abs=self.tolerance)

    @invariant()
    def holds_as_many(self) -> None:
        assert len(self.index) == len(self.twin)


class BesideAnExactTwinWithCells(BesideAnExactTwin):
    """The same with an inverted file that looks into all of its cells; only the eight bits a number are left to differ."""

    exact_up_to = INVERTED
    tolerance = 0.03


TestBesideAnExactTwin = BesideAnExactTwin.TestCase
TestBesideAnExactTwin.settings = settings(deadline=None)
TestBesideAnExactTwinWithCells = BesideAnExactTwinWithCells.TestCase
TestBesideAnExactTwinWithCells.settings = settings(deadline=None, max_examples=50)


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**6), unique=True, min_size=1, max_size=20))
def test_finds_every_vector_as_its_own_nearest(ids: list[int]) -> None:
    index = VectorIndex(Path(), DIM, _settings(Path()))
    index.add(_ids(ids), _vectors(ids))
    assert [next(iter(index.search(unit_vector(str(id_)), 1))) for id_ in ids] == ids


def test_gives_the_best_first_over_base_and_recent(tmp_path: Path) -> None:
    index = _index(tmp_path, list(range(1, 21)))
    _compact(index, tmp_path, list(range(1, 21)))
    index.add(_ids(list(range(21, 41))), _vectors(list(range(21, 41))))
    exact = _exact(list(range(1, 41)))
    assert list(index.search(QUERY, 10)) == sorted(exact, key=exact.__getitem__, reverse=True)[:10]


def test_takes_a_read_only_query_as_it_comes_off_the_wire(tmp_path: Path) -> None:
    index = _index(tmp_path, [1])
    query = unit_vector("1")
    query.setflags(write=False)
    assert index.search(query, 5) == pytest.approx({1: 1.0})


@pytest.mark.parametrize("exact_up_to", [FLAT, INVERTED])
def test_a_query_of_another_dimension_or_without_numbers_reads_nothing_it_should_not(tmp_path: Path, exact_up_to: int) -> None:
    index = _index(tmp_path, [1, 2, 3])
    _compact(index, tmp_path, [1, 2, 3], exact_up_to)
    index.remove(_ids([3]))
    with pytest.raises(ValueError, match="cannot reshape"):
        index.search(np.ones(DIM + 1, np.float32), 1)
    with pytest.raises(ValueError, match="cannot reshape"):
        index.add(_ids([4, 5]), _vectors([4]))
    assert index.search(np.full(DIM, np.nan, np.float32), 2).keys() <= {1, 2}


def test_takes_new_vectors_after_a_base_was_mapped(tmp_path: Path) -> None:
    index = _index(tmp_path, [1, 2, 3])
    file = _compact(index, tmp_path, [1, 2, 3])
    index.replace(_ids([2]), _ids([4]), _vectors([4]))
    reopened = VectorIndex.open(tmp_path, DIM, file, _ids([1, 3, 4]), _read, _settings(tmp_path))
    reopened.add(_ids([5]), _vectors([5]))
    assert index.search(QUERY, 9) == pytest.approx(_exact([1, 3, 4]))
    assert reopened.search(QUERY, 9) == pytest.approx(_exact([1, 3, 4, 5]))


@pytest.mark.parametrize("exact_up_to", [FLAT, INVERTED])
def test_what_changes_while_a_base_is_built_is_right_after_it_is_adopted(tmp_path: Path, exact_up_to: int) -> None:
    index = _index(tmp_path, [1, 2, 3, 4])

    def read_while_others_write(ids: ChunkIds) -> Iterator[tuple[ChunkIds, Vector]]:
        yield from _read(ids)
        if 6 not in index.search(QUERY, 9):
            index.replace(_ids([2]), _ids([5, 6]), _vectors([5, 6]))
            index.remove(_ids([5]))

    _compact(index, tmp_path, [1, 2, 3, 4], exact_up_to, read_while_others_write)
    assert index.search(QUERY, 9) == pytest.approx(_exact([1, 3, 4, 6]), abs=0.03)
    assert index.pending == 2


def test_a_chunk_that_is_committed_but_not_added_yet_is_found_once_after_it_is(tmp_path: Path) -> None:
    index = _index(tmp_path, [1])
    _compact(index, tmp_path, [1, 2])
    assert index.search(QUERY, 9).keys() == {1}
    index.add(_ids([2]), _vectors([2]))
    assert len(index) == 2
    assert index.search(QUERY, 9) == pytest.approx(_exact([1, 2]))


def test_a_base_that_lacks_what_the_present_one_has_is_not_adopted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    index = _index(tmp_path)
    older = build_base(tmp_path, DIM, _ids([1]), _read, _settings(tmp_path))
    index.add(_ids([1, 2]), _vectors([1, 2]))
    _compact(index, tmp_path, [1, 2])
    assert not index.adopt(older)
    assert [record.reason for record in caplog.records] == ["older"]
    assert index.search(QUERY, 9).keys() == {1, 2}


@pytest.mark.parametrize("given", [[1, 3], [1, 2, 4], [1, 3, 2], [1, 2, 3, 4]])
@pytest.mark.parametrize("exact_up_to", [FLAT, INVERTED])
def test_a_store_that_gives_other_vectors_than_asked_for_gets_no_snapshot(tmp_path: Path, exact_up_to: int, given: list[int]) -> None:
    with pytest.raises(Internal, match="other vectors than those of the 3 chunks"):
        build_base(tmp_path, DIM, _ids([1, 2, 3]), lambda _: _read(_ids(given)), _settings(tmp_path, exact_up_to))
    assert list(tmp_path.iterdir()) == []


def test_is_due_when_enough_has_changed_and_also_a_tenth_of_the_base(tmp_path: Path) -> None:
    index = VectorIndex(tmp_path, DIM, _settings(tmp_path, compact_after=10))
    index.add(_ids(list(range(1, 10))), _vectors(list(range(1, 10))))
    assert (index.pending, index.is_due) == (9, False)
    index.add(_ids(list(range(10, 201))), _vectors(list(range(10, 201))))
    assert index.is_due
    _compact(index, tmp_path, list(range(1, 201)))
    assert (index.pending, index.is_due) == (0, False)
    index.remove(_ids(list(range(1, 20))))
    assert (index.pending, index.is_due) == (19, False)
    index.add(_ids([201]), _vectors([201]))
    assert (index.pending, index.is_due) == (20, True)


def test_a_document_that_changes_again_and_again_does_not_fill_the_memory(tmp_path: Path) -> None:
    index = _index(tmp_path, [0])
    vectors = _vectors([0])
    for id_ in range(1, 5_000):
        index.replace(_ids([id_ - 1]), _ids([id_]), vectors)
    assert index.pending <= 1_024
    assert index.search(QUERY, 9).keys() == {4_999}


def _inverted_index(folder: Path, count: int, probes: int) -> VectorIndex:
    live = np.arange(1, count + 1)
    file = build_base(folder, DIM, live, _read, _settings(folder, INVERTED))
    return VectorIndex.open(folder, DIM, file, live, _read, _settings(folder, INVERTED, probes=probes))


def test_few_allowed_chunks_are_all_found_though_they_lie_in_many_cells(tmp_path: Path) -> None:
    index = _inverted_index(tmp_path, 2_000, probes=3)
    allowed = list(range(7, 2_000, 20))
    for number in range(20):
        query = unit_vector(f"question {number}")
        exact = _exact(allowed, query)
        best = sorted(exact, key=exact.__getitem__, reverse=True)[:3]
        assert set(best) <= index.search(query, 10, _ids(allowed)).keys()


def test_as_many_as_asked_for_are_found_where_there_are_as_many(tmp_path: Path) -> None:
    index = _inverted_index(tmp_path, 400, probes=1)
    assert len(index.search(QUERY, 300)) == 300
    index.remove(np.arange(1, 200))
    assert index.search(QUERY, 300).keys() == set(range(200, 401))


def test_an_inverted_file_finds_most_of_the_nearest_with_a_part_of_its_cells(tmp_path: Path) -> None:
    index = _inverted_index(tmp_path, 2_000, probes=12)
    ids = list(range(1, 2_001))
    vectors = _vectors(ids)
    hits = 0
    for number in range(20):
        query = unit_vector(f"question {number}")
        best = np.argsort(-(vectors @ query))[:10] + 1
        hits += len(set(best.tolist()) & index.search(query, 100).keys())
    assert hits >= 180


def test_a_search_waits_neither_for_a_change_nor_for_a_new_base(tmp_path: Path) -> None:
    index = _index(tmp_path, [1])
    with index._changing, ThreadPoolExecutor(1) as pool:
        assert pool.submit(index.search, QUERY, 1).result(timeout=10).keys() == {1}


@pytest.mark.parametrize("removed", [[], [3, 39, 41, 2_900]])
def test_searches_that_are_made_together_find_what_each_finds_alone(tmp_path: Path, removed: list[int]) -> None:
    index = _index(tmp_path, list(range(1, 41)))
    _compact(index, tmp_path, list(range(1, 41)))
    index.add(_ids(list(range(41, 3_000))), _vectors(list(range(41, 3_000))))
    index.remove(_ids(removed))
    asked = [(unit_vector(f"question {number}"), number + 1) for number in range(20)]
    alone = [index.search(query, k) for query, k in asked]
    together = index._search_together(asked)
    for found, expected, (query, _) in zip(together, alone, asked, strict=True):
        assert list(found.values()) == pytest.approx(list(expected.values()), abs=1e-6)
        assert found == pytest.approx(_exact(list(found), query), abs=1e-6)


@pytest.mark.parametrize("exact_up_to", [FLAT, INVERTED])
def test_gives_cosines_of_the_vectors_it_has_as_they_were_stored(tmp_path: Path, exact_up_to: int) -> None:
    index = _index(tmp_path, [1, 2, 3])
    _compact(index, tmp_path, [1, 2, 3], exact_up_to)
    index.add(_ids([9, 8]), _vectors([9, 8]))
    at_hand = [1, 3, 8] if exact_up_to == FLAT else [8]
    assert index.cosines([3, 8, 1, 77], QUERY) == pytest.approx(_exact(at_hand), abs=1e-6)


def test_a_cosine_has_the_same_bits_whatever_is_asked_with_it(tmp_path: Path) -> None:
    index = _index(tmp_path, list(range(1, 300)))
    all_of_them = index.cosines(list(range(1, 300)), QUERY)
    for count in (1, 2, 3, 5, 17, 100):
        few = index.cosines(list(range(1, 1 + count)), QUERY)
        assert few == {id_: all_of_them[id_] for id_ in few}


def test_a_replacement_is_never_seen_halfway_nor_is_a_new_base(tmp_path: Path) -> None:
    """Every search sees all three vectors of one version, whatever is replaced or adopted meanwhile."""
    index = _index(tmp_path, [0, 1, 2])
    done = threading.Event()

    def replace_often() -> None:
        for version in range(1, 300):
            ids = [3 * version, 3 * version + 1, 3 * version + 2]
            index.replace(_ids([id_ - 3 for id_ in ids]), _ids(ids), _vectors(ids))
            if version % 15 == 0:
                file = _compact(index, tmp_path, ids, (FLAT, INVERTED)[version % 2])
                keep_only(tmp_path, file)
        done.set()

    def look_often() -> set[tuple[int, ...]]:
        seen = set()
        while not done.is_set():
            seen.add(tuple(sorted(index.search(QUERY, 10))))
        return seen

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(look_often) for _ in range(3)]
        try:
            pool.submit(replace_often).result()
        finally:
            done.set()
        seen = set().union(*(reader.result() for reader in readers))
    assert all(len(ids) == 3 and ids[0] % 3 == 0 and ids == (ids[0], ids[0] + 1, ids[0] + 2) for ids in seen)
