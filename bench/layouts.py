"""The same change laid out by us, and in one table with a virtual host per domain: GDS's commit → Envoy's ACK.

``python -m bench.layouts [--domains 10000 100000 1000000] [--moves 20 10 3]``. Both run at once, each with a GDS and an
Envoy of its own, and take turns, so that what else the machine does slows down both. The single table is what one
writes for a snapshot cache; it is served by our own server from pieces that are encoded once (`bench.single_table`).
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

from bench.edge import Edge, Gds, rss_mb, running, sample
from bench.report import RESULTS, Report, quantile

LAYOUTS = ("pointsman", "single")


def alternate(edges: dict[str, Edge], moves: int) -> dict[str, list[float]]:
    """Milliseconds from commit to ACK, by layout."""
    found: dict[str, list[float]] = {layout: [] for layout in edges}
    gds = {layout: Gds(edge) for layout, edge in edges.items()}
    for domain in sample(list(edges[LAYOUTS[0]].homes), moves):
        for layout, edge in edges.items():
            _, revision = gds[layout].move(domain)
            lag = edge.settled(revision, 300).last_ack()
            assert lag is not None
            found[layout].append(lag * 1000)
            time.sleep(0.1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.layouts", description=__doc__)
    parser.add_argument("--domains", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--moves", type=int, nargs="+", default=[20, 10, 3], help="for each number of domains")
    parser.add_argument("--json", type=Path, default=RESULTS / "layouts.json")
    options = parser.parse_args()
    report = Report("One change, commit → ACK, in ours and in one table with a virtual host per domain")
    for domains, moves in zip(options.domains, options.moves, strict=True):
        with contextlib.ExitStack() as stack:
            edges = {}
            for layout in LAYOUTS:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                edges[layout] = stack.enter_context(running(folder, domains, layout, patience=400))
            before = {layout: edge.rx_bytes() for layout, edge in edges.items()}
            done = alternate(edges, moves)
            ours, single = (quantile(done[layout], 0.5) for layout in LAYOUTS)
            sent = {layout: (edge.rx_bytes() - before[layout]) / moves for layout, edge in edges.items()}
            report.add(
                domains=domains,
                moves=moves,
                pointsman_ms=ours,
                single_ms=single,
                ratio=single / ours,
                pointsman_bytes=round(sent["pointsman"]),
                single_bytes=round(sent["single"]),
                pointsman_envoy_mb=rss_mb(edges["pointsman"].parts["envoy"]),
                single_envoy_mb=rss_mb(edges["single"].parts["envoy"]),
                pointsman_serving_s=edges["pointsman"].started.connected_to_serving,
                single_serving_s=edges["single"].started.connected_to_serving,
            )
    report.show(options.json)


if __name__ == "__main__":
    main()
