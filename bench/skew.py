"""What a change costs when names are skewed, with crowded pairs split and never split, and what a split pair costs.

``python -m bench.skew [--names even www tenants real] [--domains 1000000] [--crowded 3072 0] [--moves 300] [--edge]``

The kinds of names are those of ``bench.names``; ``--file`` takes the first word of each line instead. The first table
is the control plane's part alone, in this process: the names of each kind are laid out once for each ``--crowded`` (0
stands for never split), and domains move one by one. With ``--edge`` the same goes through GDS, control plane, Envoy
and 50 pods, each a real process, and timed to Envoy's ACK. ``--requests`` measures Envoy's CPU for a request to a host
of a split pair beside an ordinary one, in turns, over TLS and HTTP/2; it needs h2load (Debian's nghttp2-client).
"""

from __future__ import annotations

import argparse
import gc
import itertools
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from bench.edge import Edge, Gds, cpu_seconds, pod_name, rss_mb, sample
from bench.edge import names as even
from bench.names import KINDS, from_file, tenants
from bench.report import RESULTS, Report, quantile
from demo.system import LOOPBACK, Ports
from xds.delta import Delta
from xds.resources.edge import EdgeResources
from xds.resources.types import ROUTE

TABLES = 512
NEVER = 10**9


def in_process(homes: dict[str, str], crowded: int, moves: int) -> dict[str, object]:
    """The control plane's part: from a delta to the encoded tables."""
    made = EdgeResources(TABLES, timedelta(seconds=1), crowded)
    began = time.perf_counter()
    made.tables.apply({domain: (None, pod) for domain, pod in homes.items()})
    laid_out = time.perf_counter()
    tables = made.every_table()[ROUTE]
    encoded = time.perf_counter()
    gc.collect()
    gc.disable()  # what a full collection of a million strings takes is another question
    took, sent, split = [], [], 0
    chance = random.Random(5)
    for domain in chance.sample(list(homes), moves):
        old = homes[domain]
        new = pod_name(int(old.removeprefix("pod")))
        begun = time.perf_counter()
        update = made.update(Delta({domain: (old, new)}, {}))
        took.append((time.perf_counter() - begun) * 1000)
        sent.append(sum(len(table.any) for table in update[ROUTE].values() if table) / 1000)
        split += made.tables.is_split(domain[:2])
        made.update(Delta({domain: (new, old)}, {}))
    gc.enable()
    return {
        "split_pairs": sum(place.split for place in made.tables.pairs.placed.values()),
        "moves_in_them": f"{100 * split / moves:.0f} %",
        "encode_p50_ms": quantile(took, 0.5),
        "encode_p99_ms": quantile(took, 0.99),
        "sent_p50_kB": quantile(sent, 0.5),
        "sent_p99_kB": quantile(sent, 0.99),
        "sent_max_kB": max(sent),
        "largest_kB": max(len(table.any) for table in tables.values() if table) / 1000,
        "lay_out_s": laid_out - began,
        "encode_all_s": encoded - laid_out,
    }


@contextmanager
def edge_of(homes: dict[str, str], crowded: int, patience: float = 300.0) -> Iterator[Edge]:
    with tempfile.TemporaryDirectory() as folder:
        # Not all of these names are the certificate's.
        edge = Edge(Path(folder), Ports.free(), settings={"edge": {"crowded": crowded, "misdirected": False}})
        edge.prepare()
        edge.homes = dict(homes)
        endpoints = [
            {"name": name, "endpoints": [{"address": LOOPBACK, "port": port}]} for name, port in edge.pods.items()
        ]
        edge.load(edge.homes.items(), endpoints)
        try:
            edge.started = edge.start(patience)
            yield edge
        finally:
            edge.stop()


def through_envoy(homes: dict[str, str], crowded: int, moves: int) -> dict[str, object]:
    """Each move waits for the ACK of the one before: some of these layouts take a second for one."""
    with edge_of(homes, crowded) as edge:
        gds, chance = Gds(edge), random.Random(3)
        published, acked = [], []
        first_bytes = edge.rx_bytes()
        for domain in sample(list(edge.homes), moves):
            _, revision = gds.move(domain)
            lag = edge.settled(revision)
            published.append((lag.published - lag.committed) * 1000)
            acked.append((lag.last_ack() or math.nan) * 1000)
            time.sleep(chance.uniform(0.02, 0.04))
        time.sleep(0.5)
        gds.close()
        return {
            "ack_p50_ms": quantile(acked, 0.5),
            "ack_p99_ms": quantile(acked, 0.99),
            "ack_max_ms": max(acked),
            "published_p50_ms": quantile(published, 0.5),
            "sent_kB": (edge.rx_bytes() - first_bytes) / moves / 1000,
            "serving_s": edge.started.connected_to_serving,
            "envoy_mb": rss_mb(edge.parts["envoy"]),
            "control_mb": rss_mb(edge.parts["pointsman"]),
        }


def requests(domains: int, crowded: int, rounds: int, count: int) -> Report:
    """Envoy's CPU per request; each round asks the hosts one after the other, so that all meet the same machine."""
    names = itertools.chain(tenants(domains // 2), even(domains - domains // 2))
    homes = {name: pod_name(number) for number, name in enumerate(names)}
    every = list(homes)
    ordinary = next(name for name in every[::-1] if name[:2] != "t0")
    hosts = {"ordinary": ordinary, "split": every[7], "split, unknown": "t0-nobody.example.com"}
    hosts["ordinary, unknown"] = f"{ordinary[:2]}-nobody.example.com"
    cpu: dict[str, list[float]] = {kind: [] for kind in hosts}
    rate: dict[str, list[float]] = {kind: [] for kind in hosts}
    with edge_of(homes, crowded) as edge:
        for round_ in range(rounds + 1):
            for kind, host in hosts.items():
                before, began = cpu_seconds(edge.parts["envoy"]), time.perf_counter()
                _h2load(edge, host, count)
                if round_:  # the first warms up
                    rate[kind].append(count / (time.perf_counter() - began))
                    cpu[kind].append((cpu_seconds(edge.parts["envoy"]) - before) / count * 1e6)
    report = Report(
        f"A request to a host of a split pair, {domains:,} domains, TLS, HTTP/2, one hop: {count:,} a round"
    )
    for kind in hosts:
        report.add(
            host=kind,
            cpu_min_us=min(cpu[kind]),
            cpu_median_us=quantile(cpu[kind], 0.5),
            requests_per_s=quantile(rate[kind], 0.5),
            rounds=rounds,
        )
    return report


def _h2load(edge: Edge, host: str, count: int) -> None:
    url = f"https://{LOOPBACK}:{edge.ports.edge_https}/"
    command = ["h2load", f"--requests={count}", "--clients=10", "--max-concurrent-streams=10", "--threads=1"]
    done = subprocess.run([*command, f"--header=:authority: {host}", url], capture_output=True, text=True, timeout=300)
    if f"{count} done" not in done.stdout or "0 errored" not in done.stdout:
        raise SystemExit(f"h2load: {done.stdout[-2000:]}{done.stderr[-500:]}")
    known = "nobody" not in host
    if f"status codes: {count} {'2xx' if known else '0'}" not in done.stdout and known:
        raise SystemExit(f"not every request to {host} was answered by its pod: {done.stdout[-600:]}")


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.skew", description=__doc__)
    parser.add_argument("--names", nargs="+", choices=list(KINDS), default=["even", "www", "tenants"])
    parser.add_argument("--file", type=Path)
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--crowded", type=int, nargs="+", default=[3072, 0])
    parser.add_argument("--moves", type=int, default=300)
    parser.add_argument("--edge", action="store_true")
    parser.add_argument("--requests", action="store_true", help="instead of the rest")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.requests:
        if not shutil.which("h2load"):
            raise SystemExit("h2load is missing: apt-get install nghttp2-client")
        requests(options.domains, options.crowded[0], options.rounds, 20_000).show(
            options.json or RESULTS / "split.json"
        )
        return
    kinds = (
        {options.file.name: from_file(options.file)} if options.file else {kind: KINDS[kind] for kind in options.names}
    )
    report = Report("A move: " + ("commit → Envoy's ACK" if options.edge else "from a delta to encoded tables"))
    run = through_envoy if options.edge else in_process
    first: dict[str, object] = {}
    measured = "ack_p50_ms" if options.edge else "sent_p50_kB"
    for kind, made in kinds.items():
        homes = {name: pod_name(number) for number, name in enumerate(made(options.domains))}
        for crowded in options.crowded:
            figures = run(homes, crowded or NEVER, options.moves)
            first = first or figures
            ratio = float(str(figures[measured])) / float(str(first[measured]))
            print(f"  {kind}, {crowded or 'never'}: {figures}", file=sys.stderr, flush=True)
            report.add(names=kind, domains=len(homes), crowded=crowded or "never", **figures, ratio=ratio)
    report.show(options.json or RESULTS / f"skew-{'edge' if options.edge else 'encode'}.json")


if __name__ == "__main__":
    main()
