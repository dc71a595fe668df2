import operator

from hypothesis import given, settings
from hypothesis import strategies as st

from core.schemas import Filter, Range, Scalar
from services.retriever.scope import Scope, scope_of
from tests.services.retriever.samples import database_of, split

KEYS = ("year", "b\\s", "é ü")
COLLECTIONS = ("a", "b", "c")
OPERATORS = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}

lookalikes = st.sampled_from(
    [True, False, 1, 0, 1.0, 0.0, -0.0, "1", "0", "", "true", 2**53, 2**53 + 1, float(2**53), "a", "a\x00", "a\x00b", "é", "😀"]
)
scalars = lookalikes | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
ranges = st.dictionaries(st.sampled_from(list(OPERATORS)), scalars, min_size=1).map(Range.model_validate)
wanted = scalars | st.lists(scalars, min_size=1, max_size=4) | ranges
filters_of = st.dictionaries(st.sampled_from(KEYS), wanted, max_size=2)
stored_documents = st.lists(st.tuples(st.sampled_from(COLLECTIONS), st.dictionaries(st.sampled_from(KEYS), scalars)), max_size=6)


def _kind(value: Scalar) -> type:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def _passes(value: Scalar, condition: Filter) -> bool:
    if isinstance(condition, Range):
        bounds = {name: bound for name in OPERATORS if (bound := getattr(condition, name)) is not None}
        return all(_kind(value) is _kind(bound) and OPERATORS[name](value, bound) for name, bound in bounds.items())
    choices = condition if isinstance(condition, list) else [condition]
    return any(_kind(value) is _kind(choice) and value == choice for choice in choices)


@settings(max_examples=300, deadline=None)
@given(stored_documents, st.lists(st.sampled_from(COLLECTIONS), min_size=1, unique=True), filters_of)
def test_a_scope_holds_what_a_loop_in_python_would_pick(stored: list, collections: list[str], filters: dict[str, Filter]) -> None:
    documents = [split(str(n), "text", collection=name, metadata=metadata) for n, (name, metadata) in enumerate(stored)]
    connection = database_of(*documents)
    scope = scope_of(connection, collections, filters)
    picked = {
        chunk
        for chunk, (name, metadata) in enumerate(stored, start=1)
        if name in collections and all(key in metadata and _passes(metadata[key], condition) for key, condition in filters.items())
    }
    assert (set(range(1, len(stored) + 1)) if scope is None else set(scope.chunk_ids(connection).tolist())) == picked


def test_the_whole_store_needs_no_scope() -> None:
    connection = database_of(split("1", "text", collection="a"), split("2", "text", collection="b"))
    assert scope_of(connection, ["b", "a", "none"], {}) is None
    assert scope_of(connection, ["a"], {}) is not None


def test_integers_beyond_64_bits_are_stored_and_found() -> None:
    connection = database_of(split("1", "text", metadata={"n": 10**400}), split("2", "text", metadata={"n": -(2**70)}))
    for condition, chunk in ((10**400, 1), (-(2**70), 2), (Range(gt=2**64), 1), (Range(lt=-(10**30)), None)):
        scope = scope_of(connection, ["default"], {"n": condition})
        assert scope is not None
        assert scope.chunk_ids(connection).tolist() == ([chunk] if chunk else [])


def test_a_thousand_choices_for_each_of_sixteen_keys_are_not_too_many() -> None:
    metadata: dict[str, Scalar] = {f"key{n}": n for n in range(16)}
    connection = database_of(split("1", "text", metadata=metadata))
    scope = scope_of(connection, ["default"], {key: list(range(1_000)) for key in metadata})
    assert scope is not None
    assert scope.chunk_ids(connection).tolist() == [1]


def test_a_scope_of_chunks_holds_exactly_these() -> None:
    assert Scope.of_chunks([3, 1]).chunk_ids(database_of()).tolist() == [3, 1]
