"""What the number of route tables costs, at the control plane, on the wire and at Envoy: ``edge.tables``.

``python -m bench.tables [--domains 100000 1000000] [--tables 128 256 512 1024 2048] [--moves 100]``: for each number a
new GDS, control plane, Envoy and 50 pods, each a real process, with the same names (their first characters are spread
evenly over 1,296 pairs) and the same moves, as `bench.moves` makes them. Envoy's memory is taken as soon as it serves
and again after the moves, which make it build tables anew.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.edge import rss_mb, running
from bench.moves import measure
from bench.report import RESULTS, Report, quantile


def row(domains: int, tables: int, moves: int) -> dict[str, object]:
    settings = {"edge": {"tables": tables}}
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), domains, settings=settings) as edge:
        loaded = {name: rss_mb(edge.parts[name]) for name in ("envoy", "pointsman")}
        first_bytes = edge.rx_bytes()
        done = measure(edge, moves)
        return {
            "domains": domains,
            "tables": tables,
            "bytes": round(done.bytes_each),
            "ack_p50_ms": quantile(done.acked, 0.5),
            "ack_p99_ms": quantile(done.acked, 0.99),
            "serving_s": edge.started.connected_to_serving,
            "first_load_mb": first_bytes / 1e6,
            "envoy_mb": loaded["envoy"],
            "envoy_later_mb": rss_mb(edge.parts["envoy"]),
            "control_mb": loaded["pointsman"],
            "ready_s": edge.started.snapshot_to_ready,
        }


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.tables", description=__doc__)
    parser.add_argument("--domains", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--tables", type=int, nargs="+", default=[128, 256, 512, 1024, 2048])
    parser.add_argument("--moves", type=int, default=100)
    parser.add_argument("--json", type=Path, default=RESULTS / "tables.json")
    options = parser.parse_args()
    report = Report("One move and the first load, by the number of route tables; 50 pods")
    for domains in options.domains:
        for tables in options.tables:
            figures = row(domains, tables, options.moves)
            print(f"  {figures}", file=sys.stderr, flush=True)
            report.add(**figures)
    report.show(options.json)


if __name__ == "__main__":
    main()
