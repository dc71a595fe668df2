"""Clients in a closed loop, each of which asks again when it has its answer; what they saw as a table, as JSON, and as a plot."""

import asyncio
import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

PAUSE_AFTER_FAILURE_S = 0.05

Row = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """How a server is asked: POST with a JSON body, or GET with parameters."""

    url: str
    body: Mapping[str, Any] | None = None
    parameters: Mapping[str, str] | None = None

    def send(self, session: aiohttp.ClientSession) -> Any:
        """The request, to be used with `async with`."""
        if self.parameters is not None:
            return session.get(self.url, params=self.parameters)
        return session.post(self.url, json=self.body)


@dataclass(frozen=True)
class Load:
    """One repetition: what so many clients got of one side. `clients` is "1 after 64" for a lone one right after a burst; rate and latencies, in
    order, are those of the answers with 200.
    """

    side: str
    clients: str
    per_s: float
    latencies_s: tuple[float, ...]
    failed: int = 0


def ask(calls: Iterator[Call]) -> Any:
    """The JSON that the next call is answered with."""

    async def once() -> Any:
        async with _session() as session, next(calls).send(session) as response:
            response.raise_for_status()
            return await response.json()

    return _run(once())


def measure(side: str, calls: Iterator[Call], clients: int, seconds: float, label: str | None = None) -> Load:
    """So many clients for so long; who has begun when the time is up finishes."""
    latencies: list[float] = []
    failed = 0

    async def client(session: aiohttp.ClientSession, until: float) -> None:
        nonlocal failed
        while (started := time.perf_counter()) < until:
            if await _succeeds(session, next(calls)):
                latencies.append(time.perf_counter() - started)
            else:
                failed += 1
                await asyncio.sleep(PAUSE_AFTER_FAILURE_S)

    async def all_clients() -> float:
        async with _session() as session:
            started = time.perf_counter()
            await asyncio.gather(*(client(session, started + seconds) for _ in range(clients)))
            return time.perf_counter() - started

    took = _run(all_clients())
    return Load(side, label or str(clients), len(latencies) / took, tuple(sorted(latencies)), failed)


async def _succeeds(session: aiohttp.ClientSession, call: Call) -> bool:
    try:
        async with call.send(session) as response:
            await response.read()
            return bool(response.status == 200)
    except (aiohttp.ClientError, TimeoutError):
        return False


def rows(loads: Sequence[Load], ours: Sequence[str]) -> list[Row]:
    """A row for each load and side. Requests/s is the median of the repetitions, p50 and p99 are of all their latencies, `x` is the median of the
    repetitions' ratios to the fastest side that is not ours.
    """
    groups: dict[str, dict[str, list[Load]]] = {}
    for load in loads:
        groups.setdefault(load.clients, {}).setdefault(load.side, []).append(load)
    found = []
    for sides in groups.values():
        rates = {side: statistics.median(load.per_s for load in own) for side, own in sides.items() if side not in ours}
        best = sides[max(rates, key=lambda side: rates[side])] if any(rates.values()) else None
        found += [_row(own, best) for own in sides.values()]
    return found


def _row(loads: Sequence[Load], best: Sequence[Load] | None) -> Row:
    rates = [load.per_s for load in loads]
    latencies = sorted(one for load in loads for one in load.latencies_s)
    ratios = [own.per_s / theirs.per_s for own, theirs in zip(loads, best, strict=True) if theirs.per_s] if best else []
    return {
        "clients": loads[0].clients,
        "side": loads[0].side,
        "per_s": statistics.median(rates),
        "least_per_s": min(rates),
        "most_per_s": max(rates),
        "x": statistics.median(ratios) if ratios else None,
        "p50_ms": statistics.median(latencies) * 1000 if latencies else None,
        "p99_ms": latencies[int(0.99 * len(latencies))] * 1000 if latencies else None,
        "requests": len(latencies),
        "failed": sum(load.failed for load in loads),
    }


def print_table(found: Sequence[Row], noun: str = "requests") -> None:
    """As Markdown."""
    print(f"\n| clients | side | {noun}/s | least to most | x the best peer | p50 ms | p99 ms | failed |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in found:
        ratio, p50, p99 = (f"{row[key]:.{digits}f}" if row[key] is not None else "" for key, digits in (("x", 2), ("p50_ms", 1), ("p99_ms", 1)))
        rate, least, most = (f"{row[key]:.{1 if row[key] >= 10 else 2}f}" for key in ("per_s", "least_per_s", "most_per_s"))
        print(f"| {row['clients']} | {row['side']} | {rate} | {least} to {most} | {ratio} | {p50} | {p99} | {row['failed']} |")


def write_json(path: Path | None, about: Mapping[str, Any], found: Sequence[Row], skipped: Mapping[str, str]) -> None:
    """Machine, versions, rows and what was left out."""
    if path:
        path.write_text(json.dumps({**about, "rows": list(found), "skipped": dict(skipped)}, indent=2) + "\n", encoding="utf-8")


def print_skipped(skipped: Mapping[str, str]) -> None:
    """What could not be measured, and why."""
    for side, reason in skipped.items():
        print(f"skipped: {side}: {reason}")


def plot(path: Path | None, found: Sequence[Row], noun: str = "requests") -> None:
    """Throughput and latency against the number of clients."""
    if not path:
        return
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "ekiben"
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rates, waits = figure.subplots(1, 2)
    levels = [row for row in found if row["clients"].isdigit() and row["requests"]]
    for number, side in enumerate(dict.fromkeys(row["side"] for row in levels)):
        own = [row for row in levels if row["side"] == side]
        clients = [int(row["clients"]) for row in own]
        rates.plot(clients, [row["per_s"] for row in own], "o-", color=f"C{number}", label=side)
        waits.plot(clients, [row["p50_ms"] for row in own], "o-", color=f"C{number}", label=f"{side}, median")
        waits.plot(clients, [row["p99_ms"] for row in own], "o--", color=f"C{number}", label=f"{side}, 99th percentile")
    waits.set_yscale("log")
    rates.set_ylim(0, None)
    for axes, title in ((rates, f"{noun} a second"), (waits, "milliseconds")):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("clients asking at once")
        axes.set_xscale("log", base=2)
        axes.set_xticks(*zip(*dict.fromkeys((int(row["clients"]), row["clients"]) for row in levels), strict=True))
        axes.legend(fontsize=6)
        axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=300))


def _run(work: Any) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
