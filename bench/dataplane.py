"""Requests through our edge, and through the HAProxy that it replaces: side by side, with the same pods.

``python -m bench.dataplane [--domains 100000] [--rounds 3] [--seconds 4] [--connections 100 1000 9000]``. A thousand
hosts in turn over TLS, HTTP/1.1 and HTTP/2 (ten streams of each connection at 100 connections, else one). In each round
both ways of HAProxy (`bench.haproxy`), our Envoy, and nginx without a proxy are asked, one after the other; the ratios
are medians of the rounds. Load generator, proxy and pods share the machine's cores; ``cpu_us`` is the proxy's own, for
a request, ``pods_cpu_us`` and ``gds_cpu_us`` are what those who answer it use. ``--gds mock`` lets HAProxy's Lua ask
the reference GDS; by default it asks the nginx of the pods, which answers out of memory, so that what is measured is
HAProxy. ``--hold 60`` is how long the most connections are held with a slow, steady load.

Needs haproxy, nginx-light, nghttp2-client and a C compiler.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from bench.edge import rss_mb
from bench.haproxy import MAP_FIRST, PUBLISHED, HAProxy
from bench.load import PACKAGES, Load, Measured, Shape, program
from bench.plane import Plane, plane
from bench.report import RESULTS, Report
from demo.processes import DemoError, Process
from demo.system import BASE, free_ports

ENVOY, PODS_ALONE = "envoy", "no proxy"


class Sides:
    """What is asked: a port, and the process whose CPU is counted."""

    def __init__(self, edge: Plane, gds: int, connections: int) -> None:
        self.others = {"pods": edge.parts["nginx"], "gds": edge.parts["gds"]}
        self.ports: dict[str, int] = {PODS_ALONE: edge.nginx.tls, ENVOY: edge.ports.edge_https}
        self.processes: dict[str, Process] = {PODS_ALONE: edge.parts["nginx"], ENVOY: edge.parts["envoy"]}
        asked = set(edge.asked())
        for way, port in zip((PUBLISHED, MAP_FIRST), free_ports(2), strict=True):
            haproxy = HAProxy(way, port, gds, BASE, edge.pods, edge.certificate, edge.concurrency, connections)
            # To set an entry, as the published script does on every request, HAProxy 2.6 walks through the whole map:
            # to be fair to it, its map only has the hosts that are asked for.
            known = edge.homes.items() if way == MAP_FIRST else ()
            process = haproxy.start(
                edge.folder / f"haproxy-{way}", ((host, pod) for host, pod in known if host not in asked)
            )
            self.ports[way], self.processes[way] = port, process
            edge.parts[process.name] = process

    def cpu(self, name: str) -> float:
        return _cpu(self.processes[name])

    def run(self, load: Load, name: str, shape: Shape) -> tuple[Measured, dict[str, float]]:
        """And the seconds of CPU that each of the others used meanwhile."""
        seen: list[dict[str, float]] = []

        def cpu() -> float:
            seen.append({other: _cpu(process) for other, process in self.others.items()})
            return self.cpu(name)

        measured = load.run(self.ports[name], shape, cpu)
        return measured, {other: seen[-1][other] - seen[0][other] for other in self.others}


def _cpu(process: Process) -> float:
    """Seconds that it and the children that it has now have used."""
    held = psutil.Process(process.pid)
    return sum(sum(one.cpu_times()[:2]) for one in (held, *held.children()))


def shapes(connections: list[int], seconds: float) -> Iterator[Shape]:
    for held in connections:
        for protocol in ("h1", "h2"):
            streams = 10 if protocol == "h2" and held <= 100 else 1
            yield Shape(protocol, held, streams, seconds, warm_up=1 + held / 1500)


def measure(sides: Sides, load: Load, shape: Shape, rounds: int, report: Report) -> None:
    found: dict[str, list[Measured]] = {name: [] for name in sides.ports}
    others: dict[str, list[dict[str, float]]] = {name: [] for name in sides.ports}
    for number in range(rounds):
        for name in list(found)[:: 1 if number % 2 else -1]:
            measured, used = sides.run(load, name, shape)
            found[name].append(measured)
            others[name].append({other: cpu / max(1, measured.requests) * 1e6 for other, cpu in used.items()})
            time.sleep(0.2)
    print(f"{shape.protocol}, {shape.connections:,} connections: measured", file=sys.stderr, flush=True)
    for name, runs in found.items():
        ratio = [ours.per_second / max(1, its.per_second) for ours, its in zip(found[ENVOY], runs, strict=True)]
        cpu = [its.cpu_us / ours.cpu_us for ours, its in zip(found[ENVOY], runs, strict=True) if its.requests]
        report.add(
            protocol=shape.protocol,
            connections=shape.connections,
            streams=shape.streams,
            side=name,
            requests_per_s=round(statistics.median(run.per_second for run in runs)),
            p50_ms=statistics.median(run.p50_ms for run in runs),
            p99_ms=statistics.median(run.p99_ms for run in runs),
            cpu_us=statistics.median(run.cpu_us for run in runs),
            **{f"{other}_cpu_us": statistics.median(used[other] for used in others[name]) for other in sides.others},
            errors=sum(run.errors for run in runs),
            gave_up=sum(run.gave_up for run in runs),
            envoy_is_x=statistics.median(ratio),
            cpu_is_x_envoys=statistics.median(cpu) if cpu else float("nan"),
            statuses=" ".join(run.statuses for run in runs if run.statuses),
        )


def hold(sides: Sides, load: Load, connections: int, seconds: float, report: Report) -> None:
    """So many connections, with one request of each every two seconds, to our edge alone."""
    for protocol in ("h1", "h2"):
        shape = Shape(protocol, connections, 1, seconds, warm_up=3 + connections / 1000, rps=0.5)
        run = load.run(sides.ports[ENVOY], shape, partial(sides.cpu, ENVOY))
        report.add(
            protocol=protocol,
            connections=connections,
            seconds=seconds,
            requests=run.requests,
            errors=run.errors,
            p50_ms=run.p50_ms,
            p99_ms=run.p99_ms,
            envoy_mb=rss_mb(sides.processes[ENVOY]),
            statuses=run.statuses,
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.dataplane", description=__doc__)
    parser.add_argument("--domains", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections", type=int, nargs="*", default=[100, 1_000, 9_000])
    parser.add_argument("--gds", choices=["nginx", "mock"], default="nginx")
    parser.add_argument("--hold", type=float, default=60)
    parser.add_argument("--held", type=int, default=9_000)
    parser.add_argument("--json", type=Path, default=RESULTS / "dataplane.json")
    parser.add_argument("--json-held", type=Path, default=RESULTS / "held.json")
    return parser.parse_args()


def prepare(connections: int) -> None:
    """Raises DemoError when a program is missing, or when so many connections can't be had."""
    missing = []
    for name in PACKAGES:
        try:
            program(name)
        except DemoError:
            missing.append(name)
    if missing:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise DemoError(f"not installed: {', '.join(missing)}; Debian has them: apt-get install {packages}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # One for the client's and one for the pod's side of each, and some for all else.
    if most != resource.RLIM_INFINITY and most < connections * 2 + 1_000:
        raise DemoError(
            f"{connections:,} connections need {connections * 2 + 1_000:,} open files; ulimit -Hn is {most:,}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> int:
    options = _options()
    most = max(*options.connections, options.held if options.hold else 0, 100)
    try:
        prepare(most)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 2
    with contextlib.ExitStack() as stack:
        edge = stack.enter_context(plane(options.domains))
        sides = Sides(edge, edge.nginx.gds if options.gds == "nginx" else edge.ports.gds, most + 400)
        load = Load(edge.folder, edge.asked())
        if options.connections:
            report = Report(f"{len(edge.asked()):,} of {options.domains:,} hosts in turn over TLS, GDS: {options.gds}")
            for shape in shapes(options.connections, options.seconds):
                measure(sides, load, shape, options.rounds, report)
            report.show(options.json)
        if options.hold:
            held = Report("Connections held at our edge, each with a request every two seconds")
            hold(sides, load, options.held, options.hold, held)
            held.show(options.json_held)
    return 0


if __name__ == "__main__":
    sys.exit(main())
