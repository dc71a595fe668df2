"""Runs the scenario again and again, each time in a forked process with a fault at another point, and inspects what is left.

Runs under the shim: `python -m tests.faults.campaign WHAT --work FOLDER …`; a line of JSON for each run goes to standard output.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from core.errors import EkibenError
from services.retriever.repairing import repair_folder
from tests.faults import inspection, power
from tests.faults.scenario import SCENARIO, Ledger, Session, open_engine
from tests.faults.shim import FOREVER, Action, Shim

RUN_TIMEOUT_S = 60
OUTCOMES = 2
"""Of a power loss, at each point."""
BRIEFLY = 3
"""Calls that fail before the disk is well again."""


@dataclass
class Run:
    """One run: what was done to it at which of how many points, in which place of the scenario it struck, and what was wrong afterwards."""

    what: str
    at: int
    points: int
    place: str = ""
    kills: int = 0
    errors: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Campaign:
    """Runs below `work`, under `shim`."""

    def __init__(self, work: Path, shim: Shim, random_: random.Random) -> None:
        self.work = work
        self.watched = work / "watched"
        self.data = self.watched / "data"
        self.shim = shim
        self.random = random_
        self.points = 0
        self._events = work / "events"
        self._report = work / "report"

    def count_points(self) -> int:
        """How many points the scenario has."""
        assert self._play() == 0, self._report.read_text()
        self.points = int(self._report.read_text())
        return self.points

    def kill(self, at: int, action: Action, *, again: bool) -> Run:
        """Kill the scenario at a point, kill the recovery that follows at a random one where it is to happen `again`, and inspect."""
        run = Run(action.name.lower(), at, self.points)
        run.kills += self._was_killed(self._play(action, at))
        ledger = self._ledger(run)
        if again and run.kills:
            run.kills += self._kill_recovery(action, ledger)
        run.faults += self._inspect(self.data, ledger)
        return run

    def fail(self, at: int, action: Action, calls: int) -> Run:
        """Let calls fail from a point on, while the scenario goes on, and inspect when the disk is well again."""
        run = Run(f"{action.name.lower()}{'' if calls == FOREVER else ' briefly'}", at, self.points)
        status = self._play(action, at, calls)
        ledger = self._ledger(run)
        if status:
            run.faults.append(f"ended with {status}: {self._report.read_text()}")
        run.faults += self._inspect(self.data, ledger)
        return run

    def cut_power(self, at: int, trace: power.Trace) -> Run:
        """Rebuild the folder as a power loss at a point may leave it, and inspect."""
        run = Run("power", at, trace.points)
        events = power.rebuild(trace, at, self.watched, self.random)
        ledger = _fold(("begin" if mark % 2 == 0 else "ack", mark // 2, "") for mark in events)
        run.place = ledger.place
        run.faults += self._inspect(self.data, ledger)
        return run

    def trace(self) -> power.Trace:
        """The points of one full run, with their data."""
        file, again = self.work / "trace", self.work / "again"
        file.unlink(missing_ok=True)
        assert self._play(trace=file) == 0, self._report.read_text()
        trace = power.Trace.read(file, self.watched)
        power.rebuild(trace, trace.points, again, None)
        assert _contents(again) == _contents(self.watched), "something was written past the shim"
        return trace

    def _play(self, action: Action = Action.NONE, at: int = 0, calls: int = FOREVER, trace: Path | None = None) -> int:
        """The scenario in a fresh folder and a forked process; its wait status. What it did is in the events."""
        shutil.rmtree(self.watched, ignore_errors=True)
        self.watched.mkdir()
        return _forked(lambda: self._scenario(action, at, calls, trace), self._report)

    def _scenario(self, action: Action, at: int, calls: int, trace: Path | None) -> None:
        events = os.open(self._events, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        sink = -1 if trace is None else os.open(trace, os.O_CREAT | os.O_WRONLY)
        self.shim.arm(self.watched, action, at, calls, sink)
        session = Session(self.data)
        for number, step in enumerate(SCENARIO):
            os.write(events, f"begin {number}\n".encode())
            self.shim.mark(2 * number)
            try:
                step.run(session)
            except EkibenError as error:
                os.write(events, f"fail {number} {error.code}\n".encode())
                continue
            os.write(events, f"ack {number}\n".encode())
            self.shim.mark(2 * number + 1)
        with suppress(EkibenError):
            session.close()
        self._report.write_text(str(self.shim.points))

    def _ledger(self, run: Run) -> Ledger:
        """What the events say; the place and the errors go into `run`."""
        lines = [line.split() for line in self._events.read_text().splitlines()]
        ledger = _fold((kind, int(number), "".join(code)) for kind, number, *code in lines)
        struck = [(SCENARIO[int(number)].place, code[0]) for kind, number, *code in lines if kind == "fail"]
        run.place, run.errors = struck[0][0] if struck else ledger.place, [code for _, code in struck]
        return ledger

    def _kill_recovery(self, action: Action, ledger: Ledger) -> int:
        """Kill the next opening, or the next repair, at one of its points; returns how often it died."""
        before = self.work / "before"
        shutil.rmtree(before, ignore_errors=True)
        shutil.copytree(self.data, before) if self.data.exists() else before.mkdir()
        _forked(lambda: self._recover(ledger, Action.NONE, 0), self._report)
        points = int(self._report.read_text())
        shutil.rmtree(self.data)
        before.rename(self.data)
        at = self.random.randint(1, points)
        return self._was_killed(_forked(lambda: self._recover(ledger, action, at), self._report))

    def _recover(self, ledger: Ledger, action: Action, at: int) -> None:
        self.shim.arm(self.watched, action, at)
        if ledger.is_damaged:
            list(repair_folder(self.data, accept_loss=False))
        open_engine(self.data).close()
        self._report.write_text(str(self.shim.points))

    def _inspect(self, data: Path, ledger: Ledger) -> list[str]:
        def look() -> None:
            self.shim.arm(self.watched)
            self._report.write_text(json.dumps(list(inspection.faults(data, ledger))))

        status = _forked(look, self._report)
        report = self._report.read_text()
        return [f"can't be inspected: {report}"] if status else json.loads(report)

    @staticmethod
    def _was_killed(status: int) -> int:
        return int(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)


def _contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _fold(events: Iterator[tuple[str, int, str]]) -> Ledger:
    ledger = Ledger()
    for kind, number, code in events:
        if kind == "begin":
            ledger.begin(SCENARIO[number])
        elif kind == "ack":
            ledger.acknowledge(SCENARIO[number])
        else:
            ledger.fail(SCENARIO[number], code)
    return ledger


def _forked(function: Callable[[], None], report: Path) -> int:
    """Call `function` in a forked process; its wait status. An exception goes to `report`."""
    report.write_text("")
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    signal.alarm(RUN_TIMEOUT_S)
    try:
        function()
    except BaseException:
        report.write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)


def _runs(campaign: Campaign, what: str, choose: Callable[[int], Iterable[int]]) -> Iterator[Run]:
    if what == "power":
        trace = campaign.trace()
        yield from (campaign.cut_power(at, trace) for at in choose(trace.points) for _ in range(OUTCOMES))
        return
    for at in choose(campaign.count_points()):
        if what == "kill":
            yield campaign.kill(at, Action.KILL, again=at % 4 == 0)
            yield campaign.kill(at, Action.TORN, again=at % 4 == 2)
        else:
            action = Action.FULL if what == "full" else Action.BROKEN
            yield campaign.fail(at, action, BRIEFLY)
            yield campaign.fail(at, action, FOREVER)


def _some(points: int, share: float, random_: random.Random) -> list[int]:
    """A share of the points, spread over all of them."""
    step = 1 / share
    return [min(points, int((index + random_.random()) * step) + 1) for index in range(round(points * share))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["kill", "full", "broken", "power"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--share", type=float, default=1.0, help="of all points")
    parser.add_argument("--at", type=int, help="this point alone")
    parser.add_argument("--seed", type=int, required=True)
    arguments = parser.parse_args()
    random_ = random.Random(arguments.seed)
    campaign = Campaign(arguments.work, Shim(), random_)
    for run in _runs(campaign, arguments.what, lambda points: [arguments.at] if arguments.at else _some(points, arguments.share, random_)):
        sys.stdout.write(json.dumps(asdict(run)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
