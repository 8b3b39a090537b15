"""Our edge in lookup mode beside HAProxy and the Lua that it replaces: the same GDS of one call, pods and load.

``python -m bench.lookup [--quick] [--sides published map pointsman] [--parts cold]``. All sides run, and in
each part one after the other is asked; where some are named, what is there of the others is kept. The parts:

- **cold**: hosts that nobody has asked for yet, one after the other; GDS's own time is taken off.
- **warm**: known customers at a steady rate.
- **slow**: the same, while GDS takes two seconds and new hosts are asked for, too.
- **away**: the same, while GDS's process is stopped.
- **move**: a known host goes to another pod: when is it answered by that? Ours also with a call of ``refresh``.
- **scan**: the load of *warm*, while random hosts are asked for at a rate; GDS's calls are counted.

Load generator, edge, GDS and pods share the machine's cores. Needs haproxy, nghttp2-client and a C compiler.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import string
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.edge import free_pods, pod_name, serving
from bench.load import Load, Measured, Shape, program
from bench.lookup_sides import OURS, SIDES, Answer, Asker, Side
from bench.report import RESULTS, Report, quantile
from demo.processes import DemoError

PARTS = ("cold", "warm", "slow", "away", "move", "scan")
PODS = 5


@dataclass(frozen=True)
class Sizes:
    """``rate``: requests a second of the known customers; ``scan``: of random hosts; ``patience``: seconds for a move;
    ``delay``: seconds that GDS takes when it is slow."""

    known: int = 200
    cold: int = 200
    moves: int = 10
    rate: int = 400
    seconds: float = 10.0
    delay: float = 2.0
    patience: float = 45.0
    scan: int = 5_000
    scan_seconds: float = 30.0


QUICK = Sizes(known=40, cold=20, moves=2, rate=100, seconds=2, patience=8, delay=0.5, scan=300, scan_seconds=3)


class Bench:
    """One side and its known hosts, part by part; every figure goes to ``report``."""

    def __init__(self, side: Side, sizes: Sizes, hosts: list[str], report: Report, folder: Path) -> None:
        self._side = side
        self._sizes = sizes
        self._report = report
        self._known, rest = hosts[: sizes.known], hosts[sizes.known :]
        self._fresh = iter(rest)
        (folder / "known").mkdir()
        (folder / "scan").mkdir()
        self._load = Load(folder / "known", self._known)
        count = min(200_000, int(sizes.scan * (sizes.scan_seconds + 3)))
        self._scan = Load(folder / "scan", [f"{name}.example.com" for name in _random_names(count)])
        self._asker = Asker(side.port, side.tls())
        self._quiet_p99 = 0.0

        self._steps = {
            "cold": self._cold,
            "warm": self._warm,
            "slow": self._slow,
            "away": self._away,
            "move": self._move,
            "scan": self._random_hosts,
        }
        for host in self._known:
            self._asker.ask(host)

    def run(self, part: str) -> None:
        print(f"{part}: {self._side.name}", file=sys.stderr, flush=True)
        self._steps[part]()

    def close(self) -> None:
        self._asker.close()

    def _cold(self) -> None:
        gds = statistics.median(self._side.gds_seconds(self._known[0]) for _ in range(20)) * 1000
        self._side.gds("asked")
        answers = [self._asker.ask(next(self._fresh)) for _ in range(self._sizes.cold)]
        took = [answer.seconds * 1000 for answer in answers]
        self._add("cold", took, _wrong(answers), own_p50_ms=quantile(took, 0.5) - gds, gds_calls=self._calls())

    def _warm(self) -> None:
        self._known_load("warm", lambda: None)

    def _slow(self) -> None:
        self._side.gds("delay", str(self._sizes.delay))
        try:
            self._known_load("slow", self._ask_fresh)
        finally:
            self._side.gds("delay", "0")

    def _away(self) -> None:
        self._side.stop_gds()
        try:
            self._known_load("away", self._ask_fresh)
        finally:
            self._side.start_gds()
            # A pause that was made longer, since GDS didn't answer, is over when a new host is answered.
            end = time.monotonic() + 60
            while self._asker.ask(next(self._fresh)).status != 200 and time.monotonic() < end:
                time.sleep(0.5)

    def _ask_fresh(self) -> list[Answer]:
        """New hosts, one every tenth of a second, beside the load; each on its own, since they may take long."""
        answers: list[Answer] = []
        threads: list[threading.Thread] = []
        tls = self._side.tls()

        def ask(host: str) -> None:
            asker = Asker(self._side.port, tls)
            answers.append(asker.ask(host))
            asker.close()

        end = time.monotonic() + self._sizes.seconds
        while time.monotonic() < end:
            threads.append(threading.Thread(target=ask, args=(next(self._fresh),)))
            threads[-1].start()
            time.sleep(0.1)
        for thread in threads:
            thread.join()
        return answers

    def _move(self) -> None:
        sizes = self._sizes
        chosen = self._known[: sizes.moves]
        self._report.add(side=self._side.name, part="move", **self._moved([chosen]))
        if self._side.name == OURS:
            others = self._known[sizes.moves : 2 * sizes.moves]
            told = self._moved([[host] for host in others], self._side.refresh)
            self._report.add(side=self._side.name, part="move, refresh", **told)

    def _moved(self, groups: list[list[str]], told: Callable[[str], None] = lambda host: None) -> dict[str, object]:
        """The hosts of each group move together, and are asked for until each is answered by its new pod."""
        took: list[float] = []
        for hosts in groups:
            left: dict[str, str] = {}
            began: dict[str, float] = {}
            for host in hosts:
                left[host] = next(pod for pod in self._side.pods if pod != self._side.homes[host])
                self._side.gds("move", host, left[host])
                began[host] = time.monotonic()
                told(host)
            end = time.monotonic() + self._sizes.patience
            while left and time.monotonic() < end:
                for host, pod in list(left.items()):
                    if self._asker.ask(host).pod == pod:
                        took.append((time.monotonic() - began[host]) * 1000)
                        del left[host]
                time.sleep(0.002)
        asked = sum(map(len, groups))
        never = asked - len(took)
        return {
            "requests": asked,
            "p50_ms": quantile(took, 0.5),
            "p99_ms": quantile(took, 0.99),
            "errors": never,
            "note": f"{never} of {asked} not within {self._sizes.patience:.0f} s" if never else "",
        }

    def _random_hosts(self) -> None:
        sizes = self._sizes
        connections = max(10, sizes.scan // 12)
        shape = Shape("h1", connections, 1, sizes.scan_seconds, 1, rps=sizes.scan / connections)
        self._side.gds("asked")
        found: list[Measured] = []
        scanning = threading.Thread(target=lambda: found.append(self._scan.run(self._side.port, shape, lambda: 0.0)))
        scanning.start()
        run = self._load.run(self._side.port, self._shape(sizes.scan_seconds), lambda: 0.0)
        scanning.join()
        scan = found[0]
        asked = scan.requests + scan.errors
        self._report.add(
            side=self._side.name,
            part="scan",
            **self._figures(run),
            gds_calls=self._calls(),
            note=f"{asked / sizes.scan_seconds:,.0f} random hosts/s answered: {scan.statuses or 'none'}"
            + (", gave up" if scan.gave_up else ""),
        )

    def _known_load(self, part: str, beside: Callable[[], list[Answer] | None]) -> None:
        self._side_calls()
        answers: list[Answer] = []
        other = threading.Thread(target=lambda: answers.extend(beside() or ()))
        other.start()
        run = self._load.run(self._side.port, self._shape(self._sizes.seconds), lambda: 0.0)
        other.join()
        calls = self._side_calls()
        self._report.add(side=self._side.name, part=part, **self._figures(run), gds_calls=calls)
        if answers:
            took = [answer.seconds * 1000 for answer in answers]
            self._add(f"{part}, new hosts", took, _wrong(answers), note=_statuses(answers))

    def _figures(self, run: Measured) -> dict[str, object]:
        """``p99_is_x``: times the p99 of the same load when nothing else was going on, the first that is measured."""
        self._quiet_p99 = self._quiet_p99 or run.p99_ms
        return {
            "requests": run.requests,
            "p50_ms": run.p50_ms,
            "p99_ms": run.p99_ms,
            "p99_is_x": run.p99_ms / self._quiet_p99,
            "errors": run.errors,
        }

    def _shape(self, seconds: float) -> Shape:
        return Shape("h1", 20, 1, seconds, 1, rps=self._sizes.rate / 20)

    def _side_calls(self) -> object:
        try:
            return self._calls()
        except httpx.HTTPError:  # GDS is away
            return ""

    def _calls(self) -> int:
        return int(self._side.gds("asked"))

    def _add(self, part: str, took: list[float], wrong: int, **more: object) -> None:
        self._report.add(
            side=self._side.name,
            part=part,
            requests=len(took),
            p50_ms=quantile(took, 0.5),
            p99_ms=quantile(took, 0.99),
            errors=wrong,
            **more,
        )


def _wrong(answers: list[Answer]) -> int:
    return sum(answer.status != 200 for answer in answers)


def _statuses(answers: list[Answer]) -> str:
    counted = Counter(str(answer.status) if answer.status else "no answer" for answer in answers)
    return ", ".join(f"{status}: {count}" for status, count in sorted(counted.items()))


def _random_names(count: int) -> Iterator[str]:
    chance = random.Random(7)
    for _ in range(count):
        yield "".join(chance.choices(string.ascii_lowercase, k=16))


def _hosts(sizes: Sizes) -> list[str]:
    """The known, those that are asked for once, and some more; all of one length."""
    chance = random.Random(3)
    count = sizes.known + sizes.cold + int(2 * 10 * (sizes.seconds + 2)) + 500
    letters = string.ascii_lowercase
    return [f"{''.join(chance.choices(letters, k=4))}{number:06}.example.com" for number in range(count)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.lookup", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--sides", nargs="*", choices=SIDES, default=list(SIDES))
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path, default=RESULTS / "lookup.json")
    return parser.parse_args()


def _others(file: Path, sides: list[str], parts: list[str]) -> list[dict[str, object]]:
    """What is there of sides and parts that aren't measured now."""
    if not file.exists():
        return []
    rows = json.loads(file.read_text())["rows"]
    return [row for row in rows if row["side"] not in sides or row["part"].partition(",")[0] not in parts]


def main() -> int:
    options = _options()
    sizes = QUICK if options.quick else Sizes()
    hosts = _hosts(sizes)
    report = Report("Lookup: a GDS of one call, HAProxy with its Lua beside ours")
    for row in _others(options.json, options.sides, options.parts):
        report.add(**row)
    try:
        for name in ("haproxy", "h2load", "cc"):
            program(name)
        with contextlib.ExitStack() as stack:
            above = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            pods = free_pods(PODS)
            stack.enter_context(serving(pods, above / "pods.log"))
            homes = {host: pod_name(number % PODS) for number, host in enumerate(hosts)}
            benches = []
            for name in options.sides:
                (folder := above / name).mkdir()
                side = Side(name, folder, pods, homes)
                stack.callback(side.stop)
                side.start()
                benches.append(Bench(side, sizes, hosts, report, folder))
                stack.callback(benches[-1].close)
            for part in options.parts:
                for bench in benches:
                    bench.run(part)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 2
    report.show(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
