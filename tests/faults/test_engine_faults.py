"""The store under faults at its write points: what was acknowledged is there once, what was deleted is not found, and it verifies clean."""

import pytest

from tests.faults.conftest import Runs, StartCampaign

pytestmark = pytest.mark.timeout(3_600)

SOME = 0.025
ALL = pytest.param(1.0, marks=pytest.mark.slow)
A_THIRD = pytest.param(1 / 3, marks=pytest.mark.slow)
A_FIFTH = pytest.param(0.2, marks=pytest.mark.slow)
_REFUSALS = {"storage_full", "invalid_settings", "document_not_found"}
"""A full disk while opening is an invalid folder; a document can't be deleted whose adding was refused."""


def _faults(runs: Runs) -> list[str]:
    return [f"{run['what']} at point {run['at']}, in {run['place']}: {fault}" for run in runs for fault in run["faults"]]


@pytest.mark.parametrize("share", [SOME, ALL])
def test_a_kill_at_any_write_point_loses_and_repeats_nothing(campaign: StartCampaign, share: float) -> None:
    runs = campaign("kill", share)
    assert _faults(runs) == []
    assert all(run["kills"] and not run["errors"] for run in runs)
    assert any(run["kills"] > 1 for run in runs)


@pytest.mark.parametrize("share", [SOME, A_THIRD])
def test_a_disk_that_fills_up_at_any_write_point_costs_clear_errors_only(campaign: StartCampaign, share: float) -> None:
    runs = campaign("full", share)
    assert _faults(runs) == []
    assert {error for run in runs for error in run["errors"]} <= _REFUSALS | {"store_corrupt"}
    assert all("store_corrupt" not in run["errors"] for run in runs if run["place"] != "repair")


@pytest.mark.parametrize("share", [SOME, A_FIFTH])
def test_a_disk_that_breaks_at_any_write_point_loses_nothing_acknowledged(campaign: StartCampaign, share: float) -> None:
    assert _faults(campaign("broken", share)) == []


@pytest.mark.parametrize("share", [SOME, A_FIFTH])
def test_a_power_loss_at_any_write_point_loses_nothing_acknowledged(campaign: StartCampaign, share: float) -> None:
    assert _faults(campaign("power", share)) == []
