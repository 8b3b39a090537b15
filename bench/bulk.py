"""100,000 domains change pods in one transaction, and single changes go on meanwhile.

``python -m bench.bulk [--domains 1000000] [--moves 100000] [--runs 3]``: how long until Envoy has ACKed all of it and
until sampled domains are answered by their new pods, from GDS's commit and from the beginning of the request to GDS;
and how long single changes take that are made meanwhile, one after the other.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.edge import Asker, Edge, Gds, pod_name, running, sample
from bench.profile import profiled
from bench.report import RESULTS, Report, quantile
from bench.timeline import longest_stall


@dataclass
class Singles(threading.Thread):
    """Changes one domain after the other, each a pause after GDS's answer to the one before, until it is stopped."""

    edge: Edge
    domains: list[str]
    pause: float = 0.05
    asked: dict[int, float] = field(default_factory=dict)
    """When each revision was asked for."""
    done: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        gds = Gds(self.edge)
        for domain in self.domains:
            if self.done.wait(self.pause):
                return
            begun = time.monotonic()
            _, revision = gds.move(domain)
            self.asked[revision] = begun


def measure(edge: Edge, moves: int) -> dict[str, object]:
    some = sample(list(edge.homes), moves + 2_000)
    moved, others = some[:moves], some[moves:]
    targets = {name: pod_name(int(edge.homes[name].removeprefix("pod"))) for name in moved}
    singles = Singles(edge, others)
    since, sent = time.monotonic(), edge.rx_bytes()
    singles.start()
    time.sleep(1)
    gds, asker = Gds(edge), Asker(edge)
    with profiled(edge.parts["pointsman"], "bulk"):
        begun = time.monotonic()
        revision = gds.load(targets)
        answered = time.monotonic()
        while not asker.all_right(sample(moved, 200)):
            time.sleep(0.01)
        served = time.monotonic()
        edge.settled(revision)
    time.sleep(1)
    singles.done.set()
    singles.join()
    time.sleep(1)
    held = edge.lags(since)
    bulk = held.pop(revision)
    acked = bulk.last_ack()
    assert acked is not None
    end = bulk.committed + acked
    meanwhile = [lag for lag in held.values() if begun <= singles.asked.get(lag.revision, 0) <= end]
    quiet = [lag for lag in held.values() if lag not in meanwhile]
    return {
        "domains": len(edge.homes),
        "moved": moves,
        "commit_to_ack_s": acked,
        "asked_to_ack_s": end - begun,
        "asked_to_200_served_s": served - begun,
        "gds_transaction_s": answered - begun,
        "bytes": edge.rx_bytes() - sent,
        "singles_meanwhile": len(meanwhile),
        "single_commit_to_ack_max_s": max((lag.last_ack() or 1e9 for lag in meanwhile), default=math.nan),
        "single_asked_to_ack_max_s": max(
            (max(lag.acked.values()) - singles.asked[lag.revision] for lag in meanwhile), default=math.nan
        ),
        "single_quiet_p50_ms": quantile([(lag.last_ack() or 1e9) * 1000 for lag in quiet], 0.5),
        **longest_stall(edge.probe.read(), since),
    }


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.bulk", description=__doc__)
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--moves", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS / "bulk.json")
    options = parser.parse_args()
    report = Report(f"{options.moves:,} domains change pods in one transaction")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), options.domains) as edge:
        for _ in range(options.runs):
            report.add(**measure(edge, options.moves))
    report.show(options.json)


if __name__ == "__main__":
    main()
