"""The shim, the campaigns that run under it, and the table of what they did."""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tests.services.conftest  # noqa: F401 - loads BentoML past the warnings of its imports
from tests.faults import shim
from tests.servers import ROOT

Runs = list[dict[str, Any]]
StartCampaign = Callable[[str, float], Runs]
_SEED = 20_260
_TIMEOUT_S = 3_500

# By what was done and in which place: runs, kills, errors answered, faults found.
_tally: Counter[tuple[str, str, str]] = Counter()
# By what was done, and the number of points: those that were struck.
_struck: defaultdict[tuple[str, int], set[int]] = defaultdict(set)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim."""
    if not shim.available():
        pytest.skip(shim.REASON)
    return shim.compile_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def campaign(library: Path, tmp_path: Path) -> StartCampaign:
    """Run a campaign over a share of all points; its runs."""

    def start(what: str, share: float) -> Runs:
        line = [sys.executable, "-m", "tests.faults.campaign", what, "--work", tmp_path, "--share", str(share), "--seed", str(_SEED)]
        done = subprocess.run(line, cwd=ROOT, env=shim.environment(library), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        assert done.returncode == 0, done.stderr
        runs = [json.loads(row) for row in done.stdout.splitlines()]
        for run in runs:
            tally(f"engine, {run['what']}", run["place"], run["kills"], len(run["errors"]), len(run["faults"]))
            _struck[run["what"], run["points"]].add(run["at"])
        return runs

    return start


def tally(what: str, place: str, kills: int, errors: int = 0, faults: int = 0) -> None:
    """Count a run for the table."""
    for column, number in (("runs", 1), ("kills", kills), ("errors", errors), ("faults", faults)):
        _tally[what, place, column] += number


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table."""
    if not _tally:
        return
    terminalreporter.section("faults that were injected")
    columns = ("runs", "kills", "errors", "faults")
    rows = sorted({(what, place) for what, place, _ in _tally})
    lines = [(what, place, *(_tally[what, place, column] for column in columns)) for what, place in rows]
    totals = ("all", "", *(sum(line[2 + index] for line in lines) for index in range(len(columns))))
    for line in (("what", "in", *columns), *lines, totals):
        terminalreporter.write_line("{:<22} {:<12} {:>7} {:>7} {:>7} {:>7}".format(*line))
    for (what, points), struck in sorted(_struck.items()):
        terminalreporter.write_line(f"{what}: {len(struck)} of {points} points")
