import numpy as np
import pytest

from pipelines.evaluation.significance import Paired, bootstrap_interval, difference_interval, mean, randomization_test


def column(values: list[float] | np.ndarray) -> np.ndarray:
    return np.array(values, dtype=np.float64)[:, None]


def paired(before: list[float] | np.ndarray, after: list[float] | np.ndarray) -> Paired:
    return Paired(np.arange(len(before)), column(before), column(after))


def test_an_interval_of_equal_values_is_a_point_and_none_of_nothing() -> None:
    assert bootstrap_interval(column([0.5] * 10)) == (0.5, 0.5)
    assert np.isnan(bootstrap_interval(np.empty((0, 1)))).all()


def test_an_interval_is_nearly_that_of_the_normal_distribution_and_always_the_same() -> None:
    values = column(np.random.default_rng(1).normal(0, 1, 400))
    low, high = bootstrap_interval(values)
    half = 1.96 / 20
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)
    assert bootstrap_interval(values) == (low, high)


def test_draws_without_a_value_are_left_out() -> None:
    table = column([1.0, 2.0])
    only_mixed = bootstrap_interval(table, lambda drawn: mean(drawn) if len(set(drawn[:, 0])) == 2 else float("nan"))
    assert only_mixed == (1.5, 1.5)
    assert np.isnan(bootstrap_interval(table, lambda _: float("nan"))).all()


def test_the_interval_of_a_difference_draws_both_runs_together() -> None:
    before = column(np.random.default_rng(2).normal(0, 10, 50))
    assert difference_interval(before, before + 1) == (pytest.approx(1), pytest.approx(1))


def test_runs_that_do_not_differ_have_p_1() -> None:
    ((alone, in_family),) = randomization_test([paired([0, 1, 1], [0, 1, 1])], 3)
    assert (alone, in_family) == (1, 1)


def test_p_is_that_counted_by_hand() -> None:
    # Five equal losses are as large in their direction only when all coins fall alike: 1 in 32.
    ((alone, in_family),) = randomization_test([paired([1] * 5, [0] * 5)], 5)
    assert alone == in_family == pytest.approx(1 / 32, abs=0.006)


def test_a_measure_counted_twice_costs_nothing_and_an_unrelated_one_does() -> None:
    random = np.random.default_rng(3)
    before, after = random.random(60), random.random(60)
    loss, noise = paired(before, before - 0.1 * random.random(60)), paired(before, after)
    weak = paired(before, before - 0.05 + 0.2 * (random.random(60) - 0.5))
    (alone,) = randomization_test([weak], 60)
    twice = randomization_test([weak, weak], 60)
    beside = randomization_test([weak, noise], 60)
    assert twice[0].in_family == twice[1].in_family == twice[0].alone
    assert beside[0].in_family >= beside[0].alone
    assert alone.alone == pytest.approx(beside[0].alone, abs=0.02)
    assert randomization_test([loss, noise], 60)[0].in_family < 0.001


def test_measures_of_different_questions_are_corrected_as_unrelated_ones() -> None:
    values = np.random.default_rng(4).random(40)
    shift = np.full(40, -0.02) + np.random.default_rng(5).normal(0, 0.06, 40)
    first = Paired(np.arange(40), column(values), column(values + shift))
    second = Paired(np.arange(40, 80), column(values), column(values + shift))
    ((alone, in_family), _) = randomization_test([first, second], 80)
    assert in_family == pytest.approx(1 - (1 - alone) ** 2, abs=0.01)


def test_any_statistic_can_be_tested() -> None:
    def largest(table: np.ndarray) -> float:
        return float(table[:, 0].max())

    before, after = column([0, 0, 0, 1]), column([0, 0, 0, 0])
    ((alone, _),) = randomization_test([Paired(np.arange(4), before, after, largest)], 4)
    assert alone == pytest.approx(0.5, abs=0.02)


def test_false_alarms_are_no_more_frequent_than_promised() -> None:
    alarms = 0
    for seed in range(150):
        random = np.random.default_rng(seed)
        before, after = (random.random((40, 6)) < 0.8 for _ in range(2))
        results = randomization_test([paired(before[:, place], after[:, place]) for place in range(6)], 40, permutations=499)
        falls = after.mean(axis=0) < before.mean(axis=0)
        alarms += any(p.in_family <= 0.05 and fell for p, fell in zip(results, falls, strict=True))
    assert alarms <= 15
