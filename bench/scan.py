"""A scan of random hosts at an edge in lookup mode, beside known customers: what they notice, what GDS is asked, and
what memory and CPU it costs.

``python -m bench.scan [--quick] [--parts load nobody] [--rate 5000] [--address-rate 10] [--refuse-rate 500]``. Known
hosts are asked for at a steady rate all the time, first without anything else (**quiet**), then in each part beside
one:

- **load**: no scan, but as many requests for known hosts: what such a load alone costs on this machine.
- **nobody**: each host of the scan is another one, and GDS says of all of them that it hasn't got them. The scan comes
  from one address.
- **many**: the same from fifty addresses.
- **again**: the scan has a few hundred hosts, again and again: what GDS said of them is remembered.
- **away**: each is another one, and GDS's process is stopped.

While GDS is there, known hosts move, each told of by ``pointsman refresh``'s call; and hosts that GDS has and nobody
asked for yet come for the first time, from an address that nothing else comes from. ``--address-rate 0`` is without
`lookup.address_rate`, and ``--refuse-rate 1000000`` as if `lookup.refuse_rate` weren't there. Load generators, edge,
GDS and pods share the machine's cores. Needs nghttp2-client and a C compiler.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import string
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from bench.edge import cpu_seconds, free_pods, pod_name, rss_mb, serving
from bench.load import Load, Measured, Shape
from bench.lookup_sides import OURS, Asker, Side
from bench.report import RESULTS, Report, quantile
from demo.processes import DemoError

PARTS = ("load", "nobody", "many", "again", "away")
PODS = 5
KNOWN, CONNECTIONS, AGAIN = 200, 50, 300
WARM_UP = 1
VISITOR = "127.0.0.2"
SCANNERS = tuple(f"127.0.1.{number + 1}" for number in range(CONNECTIONS))
"""Addresses of loopback. Whose host is known comes from 127.0.0.1."""
ASKED_RATE, BURST, REFRESH = 200, 200, 30.0
"""The defaults of ``lookup.rate``, ``lookup.burst`` and ``lookup.refresh``."""


@dataclass(frozen=True)
class Sizes:
    """``rate``: requests a second of the scan, ``known``: of known customers."""

    rate: int
    seconds: float
    known: int = 50


@dataclass(frozen=True)
class Costs:
    """So far: questions to GDS and hosts known; of Envoy and the control plane megabytes and seconds of CPU."""

    asked: int
    known: int
    memory: dict[str, float]
    cpu: dict[str, float]


@dataclass
class Beside:
    """What is done again and again beside the loads, with so many seconds between two, while it is entered."""

    act: Callable[[], None]
    pause: float
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self.pause):
            self.act()


class Bench:
    """An edge whose known hosts are known; every part is a row of ``report``."""

    def __init__(self, side: Side, sizes: Sizes, homes: dict[str, str], report: Report, folder: Path) -> None:
        self._side = side
        self._homes = homes
        self._sizes = sizes
        self._report = report
        self._known, rest = list(homes)[:KNOWN], list(homes)[KNOWN:]
        self._fresh = iter(rest)
        self._moving = itertools.cycle(self._known)
        self._load = Load(_made(folder / "known"), self._known)
        count = min(200_000, int(sizes.rate * (sizes.seconds + 3)))
        self._scans = {
            part: Load(
                _made(folder / part),
                self._known if part == "load" else list(_random_names(AGAIN if part == "again" else count, part)),
                SCANNERS if part == "many" else SCANNERS[:1],
            )
            for part in PARTS
        }
        self._without: dict[str, Measured] = {}
        self._moves: list[float] = []
        self._first: Counter[str] = Counter()
        with contextlib.closing(Asker(side.port, side.tls())) as asker:
            for host in self._known:
                while asker.ask(host).status != 200:  # all at once would be too many from one address
                    time.sleep(0.05)

    def run(self, part: str) -> None:
        """``part``: one of `PARTS`, or "quiet"."""
        print(part, file=sys.stderr, flush=True)
        while self._metric("pointsman_lookup_waiting"):  # what the part before left
            time.sleep(0.2)
        self._moves, self._first = [], Counter()
        if part == "away":
            self._side.stop_gds()
        before, began = self._costs(), time.monotonic()
        known, scan = self._loads(part)
        after, took = self._costs(), time.monotonic() - began
        if part in ("quiet", "load"):
            self._without[part] = known
        self._report.add(
            part=part,
            scan_per_s=round((scan.requests + scan.errors) / self._sizes.seconds) if scan else 0,
            scan_got=_shares(scan) if scan else "",
            known=known.requests,
            failed=known.errors,
            p50_ms=known.p50_ms,
            p99_ms=known.p99_ms,
            **{f"p50_is_x_{name}": known.p50_ms / other.p50_ms for name, other in self._without.items()},
            **{f"p99_is_x_{name}": known.p99_ms / other.p99_ms for name, other in self._without.items()},
            gds_calls=after.asked - before.asked,
            gds_allowed=round(ASKED_RATE * took + BURST + after.known * (took / REFRESH + 1)) + len(self._moves),
            **{f"{name}_mb": f"{mb:.0f} → {after.memory[name]:.0f}" for name, mb in before.memory.items()},
            **{f"{name}_cpu": (after.cpu[name] - used) / took for name, used in before.cpu.items()},
            moves=len(self._moves),
            move_p50_ms=quantile(self._moves, 0.5),
            move_max_ms=max(self._moves, default=float("nan")),
            first_visits=" ".join(f"{status}:{count}" for status, count in sorted(self._first.items())),
        )
        if part == "away":
            self._side.start_gds()

    def _loads(self, part: str) -> tuple[Measured, Measured | None]:
        """Of the known hosts, and of the scan beside it."""
        found: list[Measured] = []
        scan = threading.Thread(target=lambda: found.append(self._scanned(part)))
        with contextlib.ExitStack() as stack:
            if part != "quiet":
                scan.start()
                stack.callback(scan.join)
            if part != "away":
                stack.enter_context(Beside(self._move, 1.0))  # more than guard.minimum in a minute would be held
                stack.enter_context(Beside(self._come, 0.25))
            known = self._load.run(self._side.port, self._shape(self._sizes.known, 10, 10), lambda: 0.0)
        return known, found[0] if found else None

    def _scanned(self, part: str) -> Measured:
        return self._scans[part].run(self._side.port, self._shape(self._sizes.rate, CONNECTIONS, 100), lambda: 0.0)

    def _shape(self, rate: int, connections: int, streams: int) -> Shape:
        return Shape("h2", connections, streams, self._sizes.seconds, WARM_UP, rps=rate / connections)

    def _move(self) -> None:
        """One known host goes to another pod, and GDS's owner says so: how long until it is answered by that?"""
        host = next(self._moving)
        pod = next(pod for pod in self._side.pods if pod != self._homes[host])
        with contextlib.closing(Asker(self._side.port, self._side.tls())) as asker:
            asker.ask(host)
            self._side.gds("move", host, pod)
            began = time.monotonic()
            self._side.refresh(host)
            while asker.ask(host).pod != pod and time.monotonic() < began + 10:
                time.sleep(0.002)
        self._homes[host] = pod
        self._moves.append((time.monotonic() - began) * 1000)

    def _come(self) -> None:
        """A customer's very first visit."""
        with contextlib.closing(Asker(self._side.port, self._side.tls(), source=VISITOR)) as asker:
            self._first[str(asker.ask(next(self._fresh)).status or "no answer")] += 1

    def _metric(self, name: str) -> int:
        text = httpx.get(f"{self._side.api_url}/metrics", timeout=30, trust_env=False).text
        families = {family.name: family for family in text_string_to_metric_families(text)}
        return round(sum(sample.value for sample in families[name].samples))

    def _costs(self) -> Costs:
        parts = self._side.processes().items()
        return Costs(
            self._metric("pointsman_lookup_asked"),
            self._metric("pointsman_lookup_known"),
            {name: rss_mb(process) for name, process in parts},
            {name: cpu_seconds(process) for name, process in parts},
        )


def _shares(scan: Measured) -> str:
    """What a scan was answered, in parts of a hundred."""
    asked = max(1, scan.requests + scan.errors)
    counts = {status: int(count) for status, count in (word.split(":") for word in scan.statuses.split())}
    return " ".join(f"{status}:{count / asked:.1%}" for status, count in counts.items())


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _random_names(count: int, seed: str) -> Iterator[str]:
    chance = random.Random(seed)
    for _ in range(count):
        yield f"{''.join(chance.choices(string.ascii_lowercase, k=16))}.example.com"


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench.scan", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rate", type=int, default=5_000, help="random hosts a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--address-rate", type=int, default=10)
    parser.add_argument("--refuse-rate", type=float, default=500.0)
    parser.add_argument("--json", type=Path, default=RESULTS / "scan.json")
    options = parser.parse_args()
    sizes = Sizes(500, 3) if options.quick else Sizes(options.rate, options.seconds)
    hosts = [f"known{number:06}.example.com" for number in range(KNOWN + 1_000)]
    report = Report(f"A scan of {sizes.rate:,} random hosts a second for {sizes.seconds:.0f} s, known hosts beside it")
    try:
        with contextlib.ExitStack() as stack:
            above = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            pods = free_pods(PODS)
            stack.enter_context(serving(pods, above / "pods.log"))
            homes = {host: pod_name(number % PODS) for number, host in enumerate(hosts)}
            lookup = {"address_rate": options.address_rate, "refuse_rate": options.refuse_rate}
            side = Side(OURS, _made(above / OURS), pods, homes, lookup)
            stack.callback(side.stop)
            side.start()
            bench = Bench(side, sizes, homes, report, above)
            for part in ("quiet", *options.parts):
                bench.run(part)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 2
    report.show(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
