import numpy as np
import pytest

from core.errors import BadEvaluation, ErrorInfo
from pipelines.evaluation.comparing import check_baseline, compare, compare_sets
from pipelines.evaluation.report import Options, Report, Row, SetReport
from tests.pipelines.evaluation.making import report, row


def run(*sets: SetReport) -> Report:
    return Report(date="2026-01-01", python="3", packages={}, options=Options(), sets=sets)


def rows(contains: np.ndarray, confidence: np.ndarray | None = None) -> list[Row]:
    """Every third question is unanswerable."""
    confidences = np.linspace(0.2, 0.9, len(contains)) if confidence is None else confidence
    return [
        row(str(number), answerable=number % 3 != 0, confidence=round(float(sure), 4), contains=float(value), F1=float(value) / 2)
        for number, (value, sure) in enumerate(zip(contains, confidences, strict=True))
    ]


def test_an_unchanged_run_is_no_loss() -> None:
    same = report(rows(np.arange(100) % 2))
    comparison = compare_sets(same, same)
    assert {difference.name for difference in comparison.differences} == {"contains", "F1", "AUROC"}
    assert {difference.verdict for difference in comparison.differences} == {"same"}
    assert (comparison.losses, comparison.missing, comparison.not_compared) == ((), 0, ())


def test_a_loss_and_a_gain_are_told_apart() -> None:
    worse, better = rows(np.arange(100) % 2), rows((np.arange(100) % 4) > 0)
    assert [difference.name for difference in compare_sets(report(better), report(worse)).losses] == ["contains", "F1"]
    gained = compare_sets(report(worse), report(better))
    assert gained.losses == ()
    assert [difference.verdict for difference in gained.differences] == ["gain", "gain", "same"]


def test_the_difference_is_that_of_the_questions_in_both() -> None:
    before = [row("a", contains=1.0), row("b", contains=0.0), row("only before", contains=0.0)]
    after = [row("b", contains=1.0), row("a", contains=1.0), row("only after", contains=0.0)]
    comparison = compare_sets(report(before), report(after))
    (difference,) = comparison.differences
    assert (difference.before, difference.after, difference.n, comparison.missing) == (0.5, 1.0, 2, 2)


def test_a_confidence_that_no_longer_tells_is_a_loss_whatever_its_scale() -> None:
    number = 90
    telling = np.where(np.arange(number) % 3 == 0, 0.1, 0.8) + np.linspace(0, 0.05, number)
    blind = np.random.default_rng(1).permutation(telling) / 10
    same = np.zeros(number)
    assert [loss.name for loss in compare_sets(report(rows(same, telling)), report(rows(same, blind))).losses] == ["AUROC"]
    assert compare_sets(report(rows(same, telling)), report(rows(same, telling / 10))).losses == ()


def test_questions_that_failed_and_measures_that_one_run_lacks_are_told() -> None:
    failed = Row(id="b", answerable=True, error=ErrorInfo(code="internal", message="oops"))
    before = [row("a", contains=1.0, F1=1.0), row("b", contains=0.0)]
    comparison = compare_sets(report(before), report([row("a", contains=1.0), failed]))
    assert (comparison.not_compared, comparison.missing) == (("F1",), 1)
    assert [difference.n for difference in comparison.differences] == [1]


def test_runs_without_a_common_question_have_no_differences() -> None:
    assert compare_sets(report([row("a", contains=1.0)]), report([row("b", contains=1.0)])).differences == ()


@pytest.mark.parametrize(
    ("digests", "top_k", "message"),
    [
        ({"other": "0"}, 5, "the baseline holds no set 'other', only set"),
        ({"set": "1"}, 5, "the set 'set' is not the one that the baseline was made of"),
        ({"set": "0"}, 7, "the baseline was made with --top-k 5, this run with 7"),
    ],
)
def test_a_baseline_of_something_else_is_refused(digests: dict[str, str], top_k: int, message: str) -> None:
    check_baseline(run(report([])), {"set": "0"}, 5)
    with pytest.raises(BadEvaluation, match=message):
        check_baseline(run(report([])), digests, top_k)


def test_every_set_is_compared_with_its_namesake() -> None:
    first, second = report([row("a", contains=1.0)], name="first"), report([row("a", contains=0.0)], name="second")
    assert [comparison.name for comparison in compare(run(second, first), run(first, second))] == ["first", "second"]
