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


class Fleet:
    """The process of the simulated Envoys."""

    def __init__(self, edge: Edge) -> None:
        command = [sys.executable, "-m", "bench.light_envoy", str(edge.folder / "certs"), str(edge.ports.xds)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.size = 0

    def say(self, *words: object) -> dict[str, float]:
        """Gives a command and waits for its answer."""
        self.begin(*words)
        return self.answer()

    def begin(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the simulated Envoys ended")
        found: dict[str, float] = json.loads(line)
        return found

    def grow(self, size: int) -> float:
        """Until there are so many; returns the seconds that it took."""
        began = time.monotonic()
        while self.size < size:
            more = min(_AT_ONCE, size - self.size)
            self.say("connect", self.size, more)
            self.size += more
        return time.monotonic() - began

    def cpu(self) -> float:
        """Seconds of CPU so far: they share the machine's cores with the control plane."""
        used = psutil.Process(self._process.pid).cpu_times()
        return float(used.user + used.system)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def change(edge: Edge, fleet: Fleet, domains: list[str], quiet: float = 0.2) -> dict[str, object]:
    """Single changes, each when all have ACKed the one before."""
    gds = Gds(edge)
    fleet.say("watch")
    control_plane = edge.parts["pointsman"]
    began, cpu, theirs = time.monotonic(), cpu_seconds(control_plane), fleet.cpu()
    with profiled(control_plane, f"fleet-change-{fleet.size}"):
        for domain in domains:
            gds.move(domain)
            fleet.say("expect", fleet.size)
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
    fleet.say("drop", STAYING, count)
    time.sleep(2)
    gds.move(domains[0])
    time.sleep(0.5)
    singles = Singles(edge, domains[1:], pause=1.0)  # each goes to all of them
    began, cpu, theirs = time.monotonic(), cpu_seconds(edge.parts["pointsman"]), fleet.cpu()
    singles.start()
    with profiled(edge.parts["pointsman"], "fleet-return"):
        back = fleet.say("return", STAYING, count, 1)
    cpu, theirs = cpu_seconds(edge.parts["pointsman"]) - cpu, fleet.cpu() - theirs
    ended = time.monotonic()
    singles.done.set()
    singles.join()
    time.sleep(2)
    held = lags(edge.commits.read(), edge.probe.read(), every_node=True)
    stayed = {f"light-{number}" for number in range(STAYING)}
    waits = []
    for revision, asked in singles.asked.items():
        if began <= asked <= ended:
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
        "change_to_stayers_max_ms": max(waits, default=0.0) * 1000,
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
                    back = min(options.back, size - STAYING)
                    returned.add(**come_back(edge, fleet, back, [next(some) for _ in range(1_000)]))
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
