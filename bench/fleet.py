"""A fleet of simulated Envoys on one control plane: how late the last of them is, what each costs, and their return.

``python -m bench.fleet [--domains 100000] [--envoys 1 10 100 1000 2000] [--changes 20] [--return 1000]``. Each Envoy
is a connection of its own with mTLS and one delta ADS stream that holds everything and ACKs (`bench.light_envoy`, all
in one process beside the control plane). The time of a change is from GDS's commit to the control plane having read
the last ACK. In the end most of them vanish, something changes, and they come back at once with what they held, while
changes go on that ten who stayed ACK.
"""

from __future__ import annotations

import argparse
import json
import math
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.bulk import Singles
from bench.edge import Edge, Gds, cpu_seconds, rss_mb, running, sample
from bench.profile import profiled
from bench.report import RESULTS, Report, exponent, quantile
from bench.timeline import lags, longest_stall

STAYING = 10
_AT_ONCE = 50
"""Envoys that come for the first time together; each is sent megabytes then."""
_PATIENCE = 120.0


class Envoys:
    """A process of simulated Envoys."""

    def __init__(self, edge: Edge) -> None:
        command = [sys.executable, "-m", "bench.light_envoy", str(edge.folder / "certs"), str(edge.ports.xds)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.size = 0

    def begin(self, *words: object) -> None:
        """Gives a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, float]:
        """Waits for what it says to it."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], _PATIENCE)[0]:
            raise SystemExit(f"the simulated Envoys said nothing for {_PATIENCE:.0f} s: did one lose its connection?")
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the simulated Envoys ended")
        found: dict[str, float] = json.loads(line)
        return found

    def connect(self, first: int, size: int) -> None:
        """New ones until there are so many here, numbered from ``first``."""
        while self.size < size:
            more = min(_AT_ONCE, size - self.size)
            self.begin("connect", first + self.size, more)
            self.answer()
            self.size += more

    def cpu(self) -> float:
        """Seconds of CPU so far: they share the machine's cores with the control plane."""
        used = psutil.Process(self._process.pid).cpu_times()
        return float(used.user + used.system)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Fleet:
    """All of them. The first, those that stay when the others go, are a process of their own: what a thousand that come
    back cost their own event loop isn't to make them late."""

    def __init__(self, edge: Edge) -> None:
        self._first, self._others = self._all = Envoys(edge), Envoys(edge)

    @property
    def size(self) -> int:
        return self._first.size + self._others.size

    def grow(self, size: int) -> float:
        """Until there are so many; returns the seconds that it took."""
        began = time.monotonic()
        self._first.connect(0, min(size, STAYING))
        self._others.connect(STAYING, max(size - STAYING, 0))
        return time.monotonic() - began

    def watch(self) -> None:
        """Route responses are counted from now on."""
        for some in self._all:
            some.begin("watch")
        for some in self._all:
            some.answer()

    def expect(self) -> None:
        """Each of them has had one."""
        for some in self._all:
            some.begin("expect", some.size)
        for some in self._all:
            some.answer()

    def drop(self, count: int) -> None:
        self._others.begin("drop", STAYING, count)
        self._others.answer()

    def come_back(self, count: int, tables: int) -> dict[str, float]:
        """What was dropped, at once; each has had so many route tables that changed meanwhile."""
        self._others.begin("return", STAYING, count, tables)
        return self._others.answer()

    def cpu(self) -> float:
        return sum(some.cpu() for some in self._all)

    def close(self) -> None:
        for some in self._all:
            some.close()


def change(edge: Edge, fleet: Fleet, domains: list[str], quiet: float = 0.2) -> dict[str, object]:
    """Single changes, each when all have ACKed the one before."""
    gds = Gds(edge)
    fleet.watch()
    control_plane = edge.parts["pointsman"]
    began, cpu, theirs = time.monotonic(), cpu_seconds(control_plane), fleet.cpu()
    with profiled(control_plane, f"fleet-change-{fleet.size}"):
        for domain in domains:
            gds.move(domain)
            fleet.expect()
            time.sleep(quiet)
    cpu, theirs = cpu_seconds(control_plane) - cpu, fleet.cpu() - theirs
    time.sleep(0.5)
    held = lags(edge.commits.read(), edge.probe.read(), every_node=True)
    last = [lag.last_ack(fleet.size) for lag in held.values() if lag.committed >= began]
    known = [lag * 1000 for lag in last if lag is not None]
    if len(known) != len(domains):
        raise SystemExit(f"of {len(domains)} changes {len(known)} were ACKed by all {fleet.size}")
    late = longest_stall(edge.probe.events, began)
    return {
        "last_ack_p50_ms": quantile(known, 0.5),
        "last_ack_max_ms": max(known),
        "cpu_us_each": cpu / len(domains) / fleet.size * 1e6,
        "clients_cpu_us_each": theirs / len(domains) / fleet.size * 1e6,
        **late,
    }


def come_back(edge: Edge, fleet: Fleet, count: int, domains: list[str]) -> dict[str, object]:
    """All but those that stay drop, and come back at once."""
    gds = Gds(edge)
    fleet.drop(count)
    time.sleep(2)
    gds.move(domains[0])
    time.sleep(0.5)
    singles = Singles(edge, domains[1:], pause=1.0)  # each goes to all of them
    began, cpu, theirs = time.monotonic(), cpu_seconds(edge.parts["pointsman"]), fleet.cpu()
    singles.start()
    with profiled(edge.parts["pointsman"], "fleet-return"):
        back = fleet.come_back(count, 1)
    cpu, theirs = cpu_seconds(edge.parts["pointsman"]) - cpu, fleet.cpu() - theirs
    ended = time.monotonic()
    singles.done.set()
    singles.join()
    time.sleep(2)
    held = lags(edge.commits.read(), edge.probe.read(), every_node=True)
    stayed = {f"light-{number}" for number in range(STAYING)}
    waits, published = [], []
    for revision, asked in singles.asked.items():
        if began <= asked <= ended:
            published.append(held[revision].published - held[revision].committed)
            acked = {node: at for node, at in held[revision].acked.items() if node in stayed}
            waits.append(max(acked.values()) - held[revision].committed if len(acked) == STAYING else 1e9)
    late = longest_stall([event for event in edge.probe.events if event["t"] <= ended], began)
    return {
        "envoys": count,
        "all_current_s": back["seconds"],
        "half_current_s": back["half"],
        "control_cpu_s": cpu,
        "clients_cpu_s": theirs,
        "connections_lost": back["lost"],
        "changes_meanwhile": len(waits),
        "change_to_stayers_p50_ms": quantile(waits, 0.5) * 1000,
        "change_to_stayers_max_ms": max(waits, default=math.nan) * 1000,
        "change_to_published_max_ms": max(published, default=math.nan) * 1000,
        **late,
        "control_mb": rss_mb(edge.parts["pointsman"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.fleet", description=__doc__)
    parser.add_argument("--domains", type=int, default=100_000)
    parser.add_argument("--envoys", type=int, nargs="+", default=[1, 10, 100, 1_000, 2_000])
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--return", type=int, default=1_000, dest="back", help="how many come back at once")
    parser.add_argument("--json", type=Path, default=RESULTS / "fleet.json")
    options = parser.parse_args()
    report = Report(f"Simulated Envoys on one control plane, {options.domains:,} domains: commit → last ACK")
    returned = Report("They come back at once with what they held")
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), options.domains, envoy=False) as edge,
    ):
        fleet = Fleet(edge)
        try:
            alone = rss_mb(edge.parts["pointsman"])
            some = iter(sample(list(edge.homes), 5_000))
            for size in sorted(options.envoys):
                seconds = fleet.grow(size)
                time.sleep(1)
                each = (rss_mb(edge.parts["pointsman"]) - alone) / size * 1000
                done = change(edge, fleet, [next(some) for _ in range(options.changes)])
                report.add(envoys=size, first_connect_s=seconds, kb_each=each, **done)
                if size >= options.back > 0 and not returned.rows:
                    fleet.grow(max(size, options.back + STAYING))
                    returned.add(**come_back(edge, fleet, options.back, [next(some) for _ in range(1_000)]))
        finally:
            fleet.close()
    report.show(options.json)
    if returned.rows:
        returned.show(options.json.with_name("return.json"))
    if len(report.rows) > 1:
        _growth(report)


def _growth(report: Report) -> None:
    growth = Report("Exponent b of cost = a x envoys^b")
    sizes = [row["envoys"] for row in report.rows]
    for cost in ("last_ack_p50_ms", "kb_each"):
        growth.add(cost=cost, exponent=exponent(sizes, [row[cost] for row in report.rows]))
    growth.show()


if __name__ == "__main__":
    main()
