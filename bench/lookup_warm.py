"""What a request for a known host costs Envoy: in watch mode, in lookup mode, and in that with and without the sample.

``python -m bench.lookup_warm [--rounds 5] [--seconds 3]``. The edges run side by side, and each is asked in turn for
the same hosts, which all of them know. Envoy's own CPU time for a request is compared: others share the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from bench.edge import cpu_seconds, free_pods, names, pod_name, serving
from bench.load import Load, Measured, Shape
from bench.lookup_sides import Asker
from bench.report import RESULTS, Report
from demo.processes import DemoError
from demo.system import LOOPBACK, Ports, System

PODS = 5
OFTEN = {"address_rate": 1_000_000, "address_burst": 1_000_000}
"""All come from one address here."""
MODES: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "watch": {},
    "lookup": {"gds": {"mode": "lookup"}, "lookup": OFTEN},
    "lookup, no sample": {"gds": {"mode": "lookup"}, "lookup": {**OFTEN, "sample": 0.0}},
}


@contextlib.contextmanager
def edge(folder: Path, mode: str, hosts: list[str], pods: Mapping[str, int]) -> Iterator[System]:
    """It knows all ``hosts``."""
    ports = Ports.free()
    system = System(folder, ports, {**MODES[mode], "edge": {"misdirected": False}, "log": {"level": "warning"}})
    system.prepare()
    homes = [{"name": n, "datacenter": "dc1", "endpoints": [{"address": LOOPBACK, "port": p}]} for n, p in pods.items()]
    (folder / "pods.json").write_text(json.dumps(homes))
    system.load([(host, pod_name(number % PODS)) for number, host in enumerate(hosts)], homes)
    try:
        system.start_gds()
        system.wait_gds()
        system.start_control_plane()
        system.wait_control_plane()
        system.start_envoy()
        system.wait_envoy()
        asker = Asker(ports.edge_https, system.tls())
        end = time.monotonic() + 120
        for host in hosts:
            while asker.ask(host).status != 200:
                if time.monotonic() > end:
                    raise DemoError(f"{mode}: {host} isn't answered")
                time.sleep(0.05)
        asker.close()
        time.sleep(1)  # the last of them is pushed
        yield system
    finally:
        system.stop()


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench.lookup_warm", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--hosts", type=int, default=1_000)
    parser.add_argument("--json", type=Path, default=RESULTS / "lookup_warm.json")
    options = parser.parse_args()
    hosts = [f"{name:.6}{number:06}.example.com" for number, name in enumerate(names(options.hosts))]
    pods = free_pods(PODS)
    shape = Shape("h2", 20, 10, options.seconds, 1)
    found: dict[str, list[Measured]] = {mode: [] for mode in MODES}
    with contextlib.ExitStack() as stack:
        above = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(serving(pods, above / "pods.log"))
        edges = {}
        for number, mode in enumerate(MODES):
            (above / str(number)).mkdir()
            edges[mode] = stack.enter_context(edge(above / str(number), mode, hosts, pods))
        load = Load(above, hosts)
        for _ in range(options.rounds):
            for mode, system in edges.items():
                cpu = partial(cpu_seconds, system.parts["envoy"])
                found[mode].append(load.run(system.ports.edge_https, shape, cpu))
    report = Report("A known host: Envoy's CPU time for a request, medians of the rounds")
    watched = [run.cpu_us for run in found["watch"]]
    for mode, runs in found.items():
        against = [run.cpu_us / its for run, its in zip(runs, watched, strict=True)]
        report.add(
            mode=mode,
            requests=sum(run.requests for run in runs),
            cpu_us=statistics.median(run.cpu_us for run in runs),
            is_x_watch=statistics.median(against),
            p50_ms=statistics.median(run.p50_ms for run in runs),
            errors=sum(run.errors for run in runs),
        )
    report.show(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
