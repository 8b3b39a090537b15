"""500 changes a second for a minute at 100,000 domains: whether all arrive, how late at most, and who used the CPU.

``python -m bench.steady [--domains 100000] [--rate 500] [--seconds 60]``. Each change is a transaction of its own: a
PUT of another domain, over eight connections to GDS, at an even pace. At the end every domain that moved is asked for
at the edge.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from bench.edge import Asker, Edge, cpu_seconds, pod_name, running, sample
from bench.profile import profiled
from bench.report import RESULTS, Report, quantile
from bench.timeline import longest_stall
from demo.system import BASE, LOOPBACK

CONNECTIONS = 8


class Putter:
    """PUTs over one connection to GDS, with as little work of its own as can be."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(LOOPBACK, self._edge.ports.gds)

    async def put(self, domain: str, pod: str) -> None:
        body = json.dumps({"pod": pod})
        head = f"PUT {BASE}/backend/{domain} HTTP/1.1\r\nhost: gds\r\ncontent-length: {len(body)}\r\n\r\n"
        self._writer.write((head + body).encode())
        answer = await self._reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"GDS answered {answer[:40]!r} for {domain}")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await self._reader.readexactly(int(length.partition(b":")[2]))


async def keep_changing(edge: Edge, rate: float, seconds: float) -> tuple[list[str], float]:
    """The domains that moved, each once, and how far the last change was behind its time."""
    moved, behind = sample(list(edge.homes), round(rate * seconds)), 0.0
    idle: asyncio.Queue[Putter] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        putter = Putter(edge)
        await putter.open()
        idle.put_nowait(putter)

    async def one(putter: Putter, domain: str, pod: str) -> None:
        await putter.put(domain, pod)
        idle.put_nowait(putter)

    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number, domain in enumerate(moved):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            putter = await idle.get()
            behind = time.monotonic() - due
            edge.homes[domain] = pod = pod_name(int(edge.homes[domain].removeprefix("pod")))
            tasks.create_task(one(putter, domain, pod))
    return moved, behind


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.steady", description=__doc__)
    parser.add_argument("--domains", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", type=Path, default=RESULTS / "steady.json")
    options = parser.parse_args()
    report = Report(f"{options.rate:,.0f} changes a second for {options.seconds:,.0f} s")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), options.domains) as edge:
        parts = {name: edge.parts[name] for name in ("gds", "pointsman", "envoy")}
        cpu = {name: cpu_seconds(part) for name, part in parts.items()}
        sent, began = edge.rx_bytes(), time.monotonic()
        with profiled(parts["pointsman"], "steady"):
            moved, behind = asyncio.run(keep_changing(edge, options.rate, options.seconds))
        took = time.monotonic() - began
        cpu = {name: (cpu_seconds(part) - cpu[name]) / took for name, part in parts.items()}
        time.sleep(1)
        held = edge.lags(began)
        lag = [found * 1000 for entry in held.values() if (found := entry.last_ack()) is not None]
        asker = Asker(edge)
        wrong = sum(asker.ask(domain) != edge.homes[domain] for domain in moved)
        report.add(
            domains=options.domains,
            changes=len(moved),
            changes_per_s=len(moved) / took,
            pace_behind_ms=behind * 1000,
            not_acked=len(moved) - len(lag),
            wrong_at_the_edge=wrong,
            published_p50_ms=quantile([(entry.published - entry.committed) * 1000 for entry in held.values()], 0.5),
            published_max_ms=max((entry.published - entry.committed) * 1000 for entry in held.values()),
            lag_p50_ms=quantile(lag, 0.5),
            lag_p99_ms=quantile(lag, 0.99),
            lag_max_ms=max(lag),
            gds_cores=cpu["gds"],
            control_cores=cpu["pointsman"],
            envoy_cores=cpu["envoy"],
            bytes_per_change=round((edge.rx_bytes() - sent) / len(moved)),
            **longest_stall(edge.probe.read(), began),
        )
    report.show(options.json)


if __name__ == "__main__":
    main()
