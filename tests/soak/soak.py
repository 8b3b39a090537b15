"""A steady load while one random fault after the other happens: ``make soak``, 30 minutes unless told otherwise.

Two control planes, one Envoy, GDS behind a proxy, domains that move all the time. What happens and when is decided by
``--seed`` alone, so a run can be replayed: first every kind once, in random order, then whatever chance brings. It ends
with a report, and with 1 when a request failed or was misrouted, a fault didn't end as it must, or a part grew.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from faulty_edge import FaultyEdge, running_faulty
from happenings import DOMAINS, REPLICAS, Happenings, small_disks
from sizes import Sample, growths
from steady_load import Count, Load
from test_clock import LIBRARY

GROWTH = 40_000_000
"""Bytes that a role, or one process, may have more at the end than once it was warm."""
MORE_FILES = 20
ROLES = {"envoy": "envoy", "gds": "gds", **{f"pointsman-{number}": "pointsman" for number in range(REPLICAS)}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        disks = stack.enter_context(small_disks(folder))
        clock = folder / "clock" if LIBRARY else None
        faked = {}
        if clock is not None:
            clock.write_text("+0\n")
            faked = {
                "LD_PRELOAD": str(LIBRARY),
                "FAKETIME_TIMESTAMP_FILE": str(clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        print(f"disks that can be filled: {disks}; clocks that jump: {clock is not None}", flush=True)
        edge = stack.enter_context(
            running_faulty(
                folder,
                {"gds": {"read_timeout": 4.0}},
                replicas=REPLICAS,
                proxied=("gds",),
                domains=DOMAINS,
                environment=faked,
            )
        )
        return Soak(edge, options.seconds, options.seed, clock).run()


class Soak:
    def __init__(self, edge: FaultyEdge, seconds: float, seed: int, clock: Path | None) -> None:
        self._edge = edge
        self._seconds = seconds
        self._seed = seed
        self._chance = random.Random(seed)
        self._counts: list[Count] = []
        self._load: Load | None = None
        self._samples: list[Sample] = []
        self._wrong: list[str] = []
        self._happenings = Happenings(edge, self._chance, self._calm, clock)

    def run(self) -> int:
        faults, happened = self._happenings.all(), Counter[str]()
        began = time.monotonic()
        due: list[str] = []
        self._begin()
        while (now := time.monotonic() - began) < self._seconds:
            if not due:
                due = self._chance.sample(sorted(faults), len(faults))
            name = due.pop()
            print(f"{now:7.1f} s  {name}", flush=True)
            happened[name] += 1
            try:
                faults[name]()
                self._happenings.moves(5)
                self._happenings.settled()
            except Exception:  # whatever it is, it is told of in the report, and the rest goes on
                self._wrong.append(f"{now:.1f} s, {name}: {traceback.format_exc()}")
                print(self._wrong[-1], flush=True)
                if len(self._wrong) >= 3 or not self._goes_on():
                    break
            self._measure(time.monotonic() - began)
        self._end()
        return self._report(happened, time.monotonic() - began)

    def _goes_on(self) -> bool:
        """What goes wrong in one fault shall not be told of all that follow."""
        with contextlib.suppress(Exception):
            self._happenings.settled()
            return True
        return False

    def _begin(self) -> None:
        self._load = self._edge.load_on(rate=100, seed=self._seed + len(self._counts))
        self._load.__enter__()

    def _end(self) -> None:
        if self._load is not None:
            self._load.__exit__(None, None, None)
            self._counts.append(self._load.count)
            self._load = None

    @contextlib.contextmanager
    def _calm(self) -> Iterator[None]:
        self._end()
        try:
            yield
        finally:
            self._begin()

    def _measure(self, at: float) -> None:
        for part, role in ROLES.items():
            with contextlib.suppress(Exception):  # it may have ended, which is told elsewhere
                process = self._edge.system.parts[part].pid
                self._samples.append(Sample(at, role, process, self._edge.memory(part), self._edge.files(part)))

    def _report(self, happened: Counter[str], seconds: float) -> int:
        failed = [line for count in self._counts for line in count.failed]
        misrouted = [line for count in self._counts for line in count.misrouted]
        asked = sum(count.asked for count in self._counts)
        print(f"\nseed {self._seed}, {seconds:.0f} s, {sum(happened.values())} faults: {dict(happened)}")
        slowest = max(count.slowest for count in self._counts)
        connections = sum(count.connections for count in self._counts)
        print(f"{asked} requests on {connections} connections, the slowest {slowest:.3f} s")
        print(f"{self._happenings.moved} moves, the slowest {self._happenings.slowest_move:.3f} s")
        print(f"{len(failed)} failed: {failed[:10]}\n{len(misrouted)} misrouted: {misrouted[:10]}")
        print(f"{len(self._wrong)} faults didn't end as they must")
        too_much = []
        for growth in growths(self._samples, seconds):
            print(
                f"{growth.role}: {growth.memory / 1e6:+.1f} MB, {growth.files:+d} files from the second quarter to the "
                f"last; within one process {growth.within_memory / 1e6:+.1f} MB, {growth.within_files:+d} files; "
                f"{growth.processes} processes, {growth.samples} samples"
            )
            if growth.too_much(GROWTH, MORE_FILES):
                too_much.append(growth.role)
        if too_much:
            print(f"grew too much: {too_much}")
        return int(bool(failed or misrouted or self._wrong or too_much or not asked))


if __name__ == "__main__":
    sys.exit(main())
