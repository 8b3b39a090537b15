"""A steady load while one random fault after the other happens: ``make soak``, 30 minutes unless told otherwise.

Two control planes, one Envoy, GDS behind a proxy, domains that move all the time. What happens and when is decided by
``--seed`` alone, so a run can be replayed. It ends with a report, and with 1 when a request failed or was misrouted,
or a part that lived through it grew.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from edge_harness import until
from faulty_edge import FaultyEdge, running_faulty

GROWTH = 60_000_000
"""Bytes that Envoy or a control plane may have more at the end than once it was warm."""
MORE_FILES = 40


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        running_faulty(Path(folder), {"gds": {"read_timeout": 4.0}}, replicas=2, proxied=("gds",)) as edge,
    ):
        return _soak(edge, options.seconds, options.seed)


def _soak(edge: FaultyEdge, seconds: float, seed: int) -> int:
    chance, happened = random.Random(seed), Counter[str]()
    faults = _faults(edge, chance)
    moved = 0
    size = _size(edge)
    with edge.load_on(rate=100, seed=seed) as load:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            name = chance.choice(sorted(faults))
            print(f"{seconds - (end - time.monotonic()):7.1f} s  {name}", flush=True)
            faults[name]()
            happened[name] += 1
            for domain in chance.sample(edge.where.domains, 5):
                edge.move(domain, edge.elsewhere(domain))
                edge.arrives(domain, patience=30.0)
                moved += 1
            if sum(happened.values()) == 3 * len(faults):
                size = _size(edge)  # warm: every kind of fault has most likely been
    grown = {part: now - size[part] for part, now in _size(edge).items()}
    count = load.count
    print(f"\nseed {seed}, {seconds:.0f} s: {dict(happened)}, {moved} moves")
    print(f"{count.asked} requests on {count.connections} connections, the slowest {count.slowest:.3f} s")
    print(f"{len(count.failed)} failed: {count.failed[:10]}\n{len(count.misrouted)} misrouted: {count.misrouted[:10]}")
    print(f"grown: {grown}")
    too_much = [p for p, more in grown.items() if more > (MORE_FILES if p.endswith(" files") else GROWTH)]
    if too_much:
        print(f"grew too much: {too_much}")
    return int(bool(count.failed or count.misrouted or too_much or not count.asked))


def _faults(edge: FaultyEdge, chance: random.Random) -> dict[str, Callable[[], None]]:
    proxy = edge.proxies["gds"]

    def restart(how: signal.Signals) -> Callable[[], None]:
        def fault() -> None:
            replica = chance.randrange(2)
            edge.kill_replica(replica, how)
            time.sleep(chance.random())
            edge.start_replica(replica)

        return fault

    def freeze() -> None:
        pid = edge.replica(chance.randrange(2)).pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(chance.uniform(0.5, 8.0))
        os.kill(pid, signal.SIGCONT)

    def gds_restart() -> None:
        edge.system.kill("gds", signal.SIGKILL)
        time.sleep(chance.random() * 3)
        edge.system.start_gds()
        edge.system.wait_gds()

    def gds_silent() -> None:
        proxy.silent = True
        time.sleep(chance.uniform(0.5, 6.0))
        proxy.silent = False
        proxy.cut()

    def gds_slow() -> None:
        proxy.delay = 0.3
        time.sleep(chance.uniform(0.5, 3.0))
        proxy.delay = 0.0

    return {
        "control plane killed": restart(signal.SIGKILL),
        "control plane ended": restart(signal.SIGTERM),
        "control plane frozen": freeze,
        "GDS killed": gds_restart,
        "GDS cut off": lambda: (proxy.refuse(), time.sleep(chance.random() * 3), proxy.accept())[0],
        "GDS half-open": gds_silent,
        "GDS slow": gds_slow,
        "nothing": lambda: time.sleep(1.0),
    }


def _size(edge: FaultyEdge) -> dict[str, int]:
    """Memory and open files of the parts. A control plane that was started anew is as large as it gets in a while."""
    until(lambda: all(edge.ready(replica).get("ready") for replica in range(2)), "both control planes are ready")
    parts = ("envoy", "pointsman-0", "pointsman-1", "gds")
    return {part: edge.memory(part) for part in parts} | {f"{part} files": edge.files(part) for part in parts}


if __name__ == "__main__":
    sys.exit(main())
