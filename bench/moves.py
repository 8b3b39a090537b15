"""How long a move takes: GDS's answer to a PUT → the first request that the new pod answers, by number of domains.

``python -m bench.moves [--domains 10000 100000] [--moves 200]``: GDS, control plane, Envoy and two pods are real
processes on this machine. One client asks over one HTTPS connection, request after request, so a move is seen at
the end of the first whole request after it is live.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import statistics
import string
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.report import Report
from demo.system import LOOPBACK, Ports, System, free_ports

PODS = ("pod1", "pod2")


@dataclass(frozen=True)
class Moves:
    """Milliseconds, one for each move."""

    domains: int
    seen: Sequence[float]
    asking: Sequence[float]
    """What one request takes when nothing moves: the part of ``seen`` that is the client's and the pod's."""


def names(count: int, seed: int = 1) -> Iterator[str]:
    """Host names whose first characters are spread evenly, the same for the same seed."""
    chance = random.Random(seed)
    letters = string.ascii_lowercase + string.digits
    for number in range(count):
        yield f"{''.join(chance.choices(letters, k=6))}{number}.example.com"


@contextlib.contextmanager
def edge(folder: Path, domains: int) -> Iterator[System]:
    ports = dict(zip(PODS, free_ports(len(PODS)), strict=True))
    system = System(folder, Ports.free())
    system.prepare()
    pods = [{"name": name, "endpoints": [{"address": LOOPBACK, "port": port}]} for name, port in ports.items()]
    system.load(zip(names(domains), itertools.cycle(PODS), strict=False), pods)
    try:
        system.start_gds()
        system.start_control_plane()
        system.start_envoy()
        for name, port in ports.items():
            system.start_pod(name, port)
            system.wait_pod(name, port)
        system.wait_gds()
        system.wait_control_plane()
        system.wait_envoy()
        yield system
    finally:
        system.stop()


def measure(domains: int, moves: int) -> Moves:
    with (
        tempfile.TemporaryDirectory() as folder,
        edge(Path(folder), domains) as system,
        httpx.Client(base_url=system.gds_url, trust_env=False) as gds,
        httpx.Client(verify=system.tls(), trust_env=False) as client,
    ):
        some = list(itertools.islice(names(domains), 0, None, max(1, domains // moves)))[:moves]

        def asked(domain: str) -> str:
            response = client.get(
                f"https://{LOOPBACK}:{system.ports.edge_https}/",
                headers={"host": domain},
                extensions={"sni_hostname": "edge.example.com"},
            )
            return str(response.headers.get("x-pod", ""))

        while not asked(some[0]):
            time.sleep(0.05)
        asking, seen = [], []
        for domain in some:
            began = time.perf_counter()
            old = asked(domain)
            asking.append((time.perf_counter() - began) * 1000)
            new = PODS[old == PODS[0]]
            gds.put(f"/backend/{domain}", json={"pod": new}).raise_for_status()
            began = time.perf_counter()
            while asked(domain) != new:
                if time.perf_counter() - began > 30:
                    raise SystemExit(f"{domain} is not at {new} after 30 s")
            seen.append((time.perf_counter() - began) * 1000)
    return Moves(domains, seen, asking)


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.moves", description=__doc__)
    parser.add_argument("--domains", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--moves", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = Report("PUT answered → first request answered by the new pod, ms")
    for domains in options.domains:
        done = measure(domains, options.moves)
        ordered = sorted(done.seen)
        report.add(
            domains=domains,
            moves=len(ordered),
            p50=statistics.median(ordered),
            p99=ordered[int(len(ordered) * 0.99)],
            longest=ordered[-1],
            one_request_p50=statistics.median(done.asking),
        )
    report.show(options.json)


if __name__ == "__main__":
    main()
