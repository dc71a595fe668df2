import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.retriever.highest import highest

scores_of_rows = st.integers(0, 200).flatmap(
    lambda size: st.lists(st.lists(st.integers(-3, 5), min_size=size, max_size=size), min_size=1, max_size=3)
)


@given(scores_of_rows, st.integers(1, 8), st.integers(-4, 4), st.integers(1, 40))
def test_is_what_sorting_gives(rows: list[list[int]], k: int, above: int, repeated: int) -> None:
    scores = np.tile(np.array(rows, np.float32), repeated)
    found = highest(scores, k, above)
    assert len(found) == len(rows)
    for row, positions in zip(scores, found, strict=True):
        expected = sorted((position for position in range(row.size) if row[position] > above), key=lambda at: (-row[at], at))
        assert positions.tolist() == expected[:k]
