from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.packing import pack_by_length, pack_by_tokens

lengths = st.lists(st.integers(0, 300), max_size=60)
budgets = st.integers(1, 2000)


@given(lengths, budgets)
def test_every_index_is_packed_once(lengths: list[int], budget: int) -> None:
    assert sorted(index for group in pack_by_tokens(lengths, budget) for index in group) == list(range(len(lengths)))


@given(lengths, budgets)
def test_a_padded_group_holds_the_budget_unless_it_is_one_sequence(lengths: list[int], budget: int) -> None:
    for group in pack_by_tokens(lengths, budget):
        assert len(group) == 1 or len(group) * max(lengths[index] for index in group) <= budget


@given(lengths, budgets)
def test_sequences_are_packed_longest_first(lengths: list[int], budget: int) -> None:
    packed = [lengths[index] for group in pack_by_tokens(lengths, budget) for index in group]
    assert packed == sorted(lengths, reverse=True)


@given(lengths, budgets)
def test_no_two_neighbouring_groups_would_fit_into_one(lengths: list[int], budget: int) -> None:
    groups = pack_by_tokens(lengths, budget)
    for group, following in pairwise(groups):
        assert (len(group) + 1) * lengths[group[0]] > budget
        assert lengths[following[0]] <= lengths[group[-1]]


def test_nothing_is_packed_into_nothing() -> None:
    assert pack_by_tokens([], 100) == []


@given(lengths, budgets)
def test_every_index_is_packed_once_by_length_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = pack_by_length(lengths, budget, 300)
    assert sorted(index for _, group in groups for index in group) == list(range(len(lengths)))
    for padded, group in groups:
        assert len(group) == 1 or len(group) * padded <= budget
        assert all(lengths[index] <= padded <= max(lengths[index] + 7, 16) for index in group)


@given(lengths, lengths, budgets)
def test_what_a_sequence_is_padded_to_does_not_depend_on_the_others(some: list[int], others: list[int], budget: int) -> None:
    alone = [pack_by_length([length], budget, 300)[0][0] for length in some]
    together = {index: padded for padded, group in pack_by_length(some + others, budget, 300) for index in group}
    assert [together[index] for index in range(len(some))] == alone


@given(lengths)
def test_no_sequence_is_padded_beyond_the_window(lengths: list[int]) -> None:
    assert all(padded <= 300 for padded, _ in pack_by_length(lengths, 2000, 300))


def test_nothing_is_packed_by_length_into_nothing() -> None:
    assert pack_by_length([], 100, 300) == []
