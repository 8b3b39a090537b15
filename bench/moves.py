"""What one move costs, by number of domains: GDS's commit → Envoy's ACK, and → the first request at the new pod.

``python -m bench.moves [--domains 1000 10000 100000 1000000] [--moves 200]``: GDS, control plane, Envoy and 50 pods
are real processes on this machine. Moves come alone, with pauses of 20 to 40 ms. Half of them are watched by the
probe alone: the ACK's time holds GDS's watch, the control plane, Envoy's work and the reading of its answer. During
the others one client asks over one HTTPS connection, request after request, from GDS's answer on, so a move is seen
at the end of the first whole request after it is live.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.edge import Asker, Edge, Gds, Started, rss_mb, running, sample
from bench.profile import profiled
from bench.report import RESULTS, Report, exponent, quantile
from bench.timeline import longest_stall


@dataclass(frozen=True)
class Moves:
    """Milliseconds, one for each move."""

    acked: list[float]
    """From the commit."""
    published: list[float]
    """From the commit to the control plane having published."""
    seen: list[float]
    """From the commit to the end of the first request that the new pod answered."""
    asking: list[float]
    """What one request takes when nothing moves."""
    bytes_each: float
    """To Envoy, for each move of those without requests."""


def measure(edge: Edge, moves: int) -> Moves:
    chance = random.Random(3)
    gds, asker = Gds(edge), Asker(edge)
    some = sample(list(edge.homes), 2 * moves)
    began, first_bytes = time.monotonic(), edge.rx_bytes()
    quiet, asked = some[: len(some) // 2], some[len(some) // 2 :]
    with profiled(edge.parts["pointsman"], f"moves-{len(edge.homes)}"):
        for domain in quiet:
            gds.move(domain)
            time.sleep(chance.uniform(0.02, 0.04))
    time.sleep(0.5)
    held = edge.lags(began)
    acked = [lag for entry in held.values() if (lag := entry.last_ack()) is not None]
    if len(acked) != len(quiet):
        raise SystemExit(f"{len(quiet)} moves were made and {len(acked)} were ACKed")
    bytes_each = (edge.rx_bytes() - first_bytes) / len(quiet)
    seen: dict[int, float] = {}
    asking = []
    for domain in asked:
        begun = time.monotonic()
        asker.ask(domain)
        asking.append((time.monotonic() - begun) * 1000)
        pod, revision = gds.move(domain)
        begun = time.monotonic()
        while asker.ask(domain) != pod:
            if time.monotonic() - begun > 60:
                raise SystemExit(f"{domain} is not at {pod} after 60 s")
        seen[revision] = time.monotonic()
        time.sleep(chance.uniform(0.02, 0.04))
    committed = {event["revision"]: event["t"] for event in edge.commits.read()}
    return Moves(
        [lag * 1000 for lag in acked],
        [(entry.published - entry.committed) * 1000 for entry in held.values()],
        [(at - committed[revision]) * 1000 for revision, at in seen.items()],
        asking,
        bytes_each,
    )


def row(edge: Edge, started: Started, done: Moves, since: float) -> dict[str, object]:
    parts = edge.parts
    return {
        "domains": len(edge.homes),
        "ack_p50_ms": quantile(done.acked, 0.5),
        "ack_p99_ms": quantile(done.acked, 0.99),
        "ack_max_ms": max(done.acked),
        "published_p50_ms": quantile(done.published, 0.5),
        "request_p50_ms": quantile(done.seen, 0.5),
        "request_p99_ms": quantile(done.seen, 0.99),
        "one_request_ms": quantile(done.asking, 0.5),
        "bytes": round(done.bytes_each),
        "envoy_mb": rss_mb(parts["envoy"]),
        "control_mb": rss_mb(parts["pointsman"]),
        "ready_s": started.snapshot_to_ready,
        "start_s": started.started_to_ready,
        "serving_s": started.connected_to_serving,
        "envoy_start_s": started.envoy_to_serving,
        **longest_stall(edge.probe.read(), since),
    }


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.moves", description=__doc__)
    parser.add_argument("--domains", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--moves", type=int, default=200, help="of either sort")
    parser.add_argument("--json", type=Path, default=RESULTS / "moves.json")
    options = parser.parse_args()
    report = Report("One move, from GDS's commit on; 50 pods")
    for domains in options.domains:
        with tempfile.TemporaryDirectory() as folder, running(Path(folder), domains) as edge:
            since = time.monotonic()
            report.add(**row(edge, edge.started, measure(edge, options.moves), since))
    report.show(options.json)
    if len(report.rows) > 1:
        _growth(report)


def _growth(report: Report) -> None:
    first, last = report.rows[0], report.rows[-1]
    growth = Report(f"From {first['domains']:,} to {last['domains']:,} domains; exponent b of cost = a x domains^b")
    sizes = [row["domains"] for row in report.rows]
    for cost in ("ack_p50_ms", "request_p50_ms", "bytes", "envoy_mb", "control_mb", "ready_s", "serving_s"):
        values = [row[cost] for row in report.rows]
        growth.add(cost=cost, ratio=values[-1] / values[0], exponent=exponent(sizes, values))
    growth.show()


if __name__ == "__main__":
    main()
