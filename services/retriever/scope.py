"""The part of the store that a search is limited to, as SQL over collections and metadata."""

# What is put into statements are constants and question marks; every value is bound.
# ruff: noqa: S608

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from core.schemas import Filter, Range, Scalar
from services.retriever.schema import ChunkIds, SqlValue

_OPERATORS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_INT64: Final = range(-(2**63), 2**63)

# Every name once, by jumping from each to the next one in the index: a plain DISTINCT reads the entry of every document.
_COLLECTIONS: Final = """
WITH RECURSIVE names (name) AS (
    SELECT min(collection) FROM documents
    UNION ALL
    SELECT (SELECT min(collection) FROM documents WHERE collection > name) FROM names WHERE name IS NOT NULL
)
SELECT name FROM names WHERE name IS NOT NULL
"""


@dataclass(frozen=True)
class Scope:
    """A SELECT that gives the ids of the chunks inside, and its parameters."""

    sql: str
    parameters: tuple[SqlValue, ...]

    @classmethod
    def of_chunks(cls, ids: Sequence[int]) -> Self:
        """Exactly these chunks."""
        return cls("SELECT value FROM json_each(?)", (json.dumps(list(ids)),))

    def chunk_ids(self, connection: sqlite3.Connection) -> ChunkIds:
        """The ids of the chunks inside, in no order."""
        return np.fromiter((chunk for (chunk,) in connection.execute(self.sql, self.parameters)), np.int64)


def scope_of(connection: sqlite3.Connection, collections: Sequence[str], filters: Mapping[str, Filter]) -> Scope | None:
    """The chunks of documents in any of `collections` whose metadata passes all `filters`; None where that is the whole store."""
    if not filters and {name for (name,) in connection.execute(_COLLECTIONS)} <= set(collections):
        return None
    conditions = [f"collection IN ({_marks(collections)})"]
    parameters: list[SqlValue] = list(collections)
    for key, wanted in filters.items():
        condition, values = _condition(wanted)
        conditions.append(f"number IN (SELECT document FROM facets WHERE key = ? AND {condition})")
        parameters += [key, *values]
    documents = f"SELECT number FROM documents WHERE {' AND '.join(conditions)}"
    return Scope(f"SELECT id FROM chunks WHERE document IN ({documents})", tuple(parameters))


def facet(value: Scalar) -> tuple[str, SqlValue]:
    """Kind and value of a metadata value as the table `facets` holds them.

    The kind keeps `true`, `1` and `"1"` apart, which SQLite would not. Integers beyond 64 bits, which SQLite can't hold, become floats.
    """
    if isinstance(value, bool):
        return "boolean", int(value)
    if isinstance(value, str):
        return "string", value
    if isinstance(value, float) or value in _INT64:
        return "number", value
    return "number", _nearest_float(value)


def _condition(wanted: Filter) -> tuple[str, list[SqlValue]]:
    if isinstance(wanted, Range):
        return _within(wanted)
    return _any_of(wanted if isinstance(wanted, list) else [wanted])


def _any_of(values: Sequence[Scalar]) -> tuple[str, list[SqlValue]]:
    by_kind: dict[str, list[SqlValue]] = defaultdict(list)
    for kind, value in map(facet, values):
        by_kind[kind].append(value)
    condition = " OR ".join(f"kind = ? AND value IN ({_marks(values)})" for values in by_kind.values())
    return f"({condition})", [parameter for kind, values in by_kind.items() for parameter in (kind, *values)]


def _within(bounds: Range) -> tuple[str, list[SqlValue]]:
    """A value has to be of the same kind as every bound, so that bounds of two kinds hold nothing."""
    given = [(operator, facet(bound)) for name, operator in _OPERATORS.items() if (bound := getattr(bounds, name)) is not None]
    condition = " AND ".join(f"kind = ? AND value {operator} ?" for operator, _ in given)
    return condition, [parameter for _, kind_and_value in given for parameter in kind_and_value]


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _nearest_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
