"""How long the control plane's event loop is held up by what is large, and how long /healthz takes meanwhile.

``python -m bench.stalls [--domains 1000000]``: the first snapshot; a resync that brings no difference, after GDS came
back with another epoch; the move of a wildcard, which stands in every table; and then, with a control plane and a GDS
that begin without a domain, all of them in one transaction. GDS, control plane, Envoy and 50 pods are real processes;
what they hold is checked by requests. ``control_mb`` is the control plane's memory when each is over and what was freed
is given back, ``peak_mb`` the most that it had meanwhile: what a container's limit must leave room for.
"""

from __future__ import annotations

import argparse
import http.client
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.edge import Asker, Edge, Gds, forget_peak, names, peak_mb, pod_name, rss_mb, sample
from bench.profile import profiled
from bench.report import RESULTS, Report
from bench.timeline import longest_stall
from demo.system import LOOPBACK, Ports
from xds.memory import LOOK


@dataclass
class Health(threading.Thread):
    """Asks for /healthz again and again, and remembers when each answer came and how long it took."""

    port: int
    took: list[tuple[float, float]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        while not self.done.wait(0.02):
            begun = time.monotonic()
            try:
                asked = http.client.HTTPConnection(LOOPBACK, self.port, timeout=60)
                asked.request("GET", "/healthz")
                asked.getresponse().read()
                self.took.append((time.monotonic(), time.monotonic() - begun))
                asked.close()
            except OSError:
                continue  # it doesn't listen yet

    def longest_ms(self, since: float) -> float:
        return max((took for at, took in self.took if at >= since), default=0.0) * 1000


def snapshots(edge: Edge) -> int:
    return sum(event["e"] == "ready" for event in edge.probe.read())


def wait(done: Callable[[], bool], patience: float = 300.0) -> None:
    end = time.monotonic() + patience
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"not done in {patience:.0f} s")
        time.sleep(0.02)


def phase(report: Report, edge: Edge, health: Health, what: str, domains: int, work: Callable[[], None]) -> None:
    since = time.monotonic()
    if "pointsman" in edge.parts:
        forget_peak(edge.parts["pointsman"])
        with profiled(edge.parts["pointsman"], f"stalls-{what.replace(' ', '-')}"):
            work()
    else:
        work()
    took = time.monotonic() - since
    time.sleep(LOOK + 2)  # then what was freed is given back, and a stall by that is seen
    asker = Asker(edge)
    wrong = sum(asker.ask(domain) != edge.homes[domain] for domain in sample(list(edge.homes), 200))
    asker.close()
    report.add(
        what=what,
        domains=domains,
        took_s=took,
        **longest_stall(edge.probe.read(), since),
        healthz_max_ms=health.longest_ms(since),
        control_mb=rss_mb(edge.parts["pointsman"]),
        peak_mb=peak_mb(edge.parts["pointsman"]),
        wrong_of_200=wrong,
    )


def another_epoch(edge: Edge) -> None:
    """GDS ends and comes back as a store that was restored: the same domains, another epoch."""
    edge.parts["gds"].stop()
    db = sqlite3.connect(edge.folder / "gds.sqlite")
    with db:
        db.execute("UPDATE meta SET epoch = 'restored'")
    db.close()
    before = snapshots(edge)
    edge.start_gds()
    wait(lambda: snapshots(edge) > before)


def wildcard(edge: Edge) -> None:
    gds = Gds(edge)
    for number in (1, 2, 3):
        name = "*.wild.example.com"
        revision = gds.load({name: pod_name(number)})
        edge.settled(revision)
        del edge.homes[name]
    gds.close()


def first(report: Report, folder: Path, domains: int) -> None:
    edge = Edge(folder, Ports.free())
    edge.fill(domains)
    health = Health(edge.ports.http)
    health.start()
    try:
        phase(report, edge, health, "first snapshot", domains, lambda: _start(edge))
        phase(report, edge, health, "resync without difference", domains, lambda: another_epoch(edge))
        phase(report, edge, health, "wildcard", domains, lambda: wildcard(edge))
    finally:
        health.done.set()
        edge.stop()


def filled(report: Report, folder: Path, domains: int) -> None:
    edge = Edge(folder, Ports.free())
    edge.fill(0)
    health = Health(edge.ports.http)
    health.start()
    try:
        _start(edge)
        moves = {name: pod_name(number) for number, name in enumerate(names(domains))}
        phase(report, edge, health, "all in one transaction", domains, lambda: _settle(edge, Gds(edge).load(moves)))
    finally:
        health.done.set()
        edge.stop()


def _start(edge: Edge) -> None:
    edge.started = edge.start()


def _settle(edge: Edge, revision: int) -> None:
    edge.settled(revision, 300)


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.stalls", description=__doc__)
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--only", choices=["first", "filled"])
    parser.add_argument("--json", type=Path, default=RESULTS / "stalls.json")
    options = parser.parse_args()
    report = Report("What holds the control plane's event loop up")
    for name, part in (("first", first), ("filled", filled)):
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                part(report, Path(folder), options.domains)
    report.show(options.json)


if __name__ == "__main__":
    main()
