"""A scan of random hosts: bounded questions to GDS, bounded memory, and known customers notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import string
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil
from background import Background
from edge_harness import Edge, customers, until
from looking_up import asked_from, looking_up
from steady_load import Load
from whereabouts import Whereabouts

SECONDS = 8.0
RATE, BURST, REMEMBER = 20, 20, 100
REFUSE_RATE = 50
MIB = 1 << 20


class Scan:
    """As many requests for random hosts as ``connections`` can ask, while it is entered. ``sources``: addresses from
    which these come, in turn."""

    def __init__(
        self, port: int, tls: ssl.SSLContext, connections: int = 24, sources: Sequence[str] = ("127.0.0.1",)
    ) -> None:
        self.statuses: Counter[int] = Counter()
        self._sources = sources
        self._port, self._tls, self._connections = port, tls, connections

    def __enter__(self) -> Scan:
        self._loop = Background("scan")
        self._running = [
            asyncio.run_coroutine_threadsafe(self._scan(number), self._loop.loop) for number in range(self._connections)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        ended = [one for one in self._running if one.done()]
        self._loop.stop()
        for one in ended:  # none ends by itself
            one.result()

    async def _scan(self, number: int) -> None:
        chance, source = random.Random(number), self._sources[number % len(self._sources)]
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1",
                    self._port,
                    ssl=self._tls,
                    server_hostname="edge.example.com",
                    local_addr=(source, 0),
                )
                try:
                    await self._ask(reader, writer, chance)
                finally:
                    writer.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chance: random.Random) -> None:
        while True:
            host = "".join(chance.choices(string.ascii_lowercase, k=14))
            writer.write(f"GET / HTTP/1.1\r\nhost: {host}.example.com\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            for line in head.split("\r\n"):
                if line.startswith("content-length:"):
                    await reader.readexactly(int(line.partition(":")[2]))
            self.statuses[int(head.split(" ")[1])] += 1


def resident(edge: Edge) -> dict[str, int]:
    """Bytes of Envoy's and the control plane's memory."""
    return {name: psutil.Process(edge.system.parts[name].pid).memory_info().rss for name in ("pointsman", "envoy")}


def grown(edge: Edge, before: dict[str, int]) -> int:
    return max(now - before[name] for name, now in resident(edge).items())


def test_a_scan_costs_bounded_questions_and_memory_and_no_known_customer_notices(tmp_path: Path) -> None:
    known = customers(40)
    lookup = {
        **{"rate": float(RATE), "burst": BURST, "remember": REMEMBER, "unknown_for": 60.0, "refresh": 30.0},
        **{"timeout": 0.5, "patience": 0.5, "waiting": 50},
    }
    with looking_up(tmp_path, lookup) as looked:
        edge = looked.edge
        for host, pod in known:
            edge.becomes(host, pod)
        until(lambda: looked.at_envoy(*dict(known)), "all are known")
        before, memory = looked.gds.asked.total(), resident(edge)
        load = Load(edge.system.ports.edge_https, edge.system.tls(), Whereabouts(dict(known)), rate=60)
        began = time.monotonic()
        with Scan(edge.system.ports.edge_https, edge.system.tls()) as scan, load:
            time.sleep(SECONDS)
            most = looked.metric("lookup_remembering")
        took = time.monotonic() - began
        load.prove()
        refreshed = len(known) * (took / 25 + 1)
        asked = looked.gds.asked.total() - before
        assert asked <= RATE * (took + 1) + BURST + refreshed
        assert scan.statuses.total() > 2 * asked, f"{scan.statuses} is no scan"
        assert set(scan.statuses) <= {404, 503}
        assert scan.statuses[503] > 0
        assert most <= REMEMBER
        assert grown(edge, memory) < 64 * MIB
        assert not {name: count for name, count in edge.stats("update_rejected").items() if count}


def test_a_scan_while_gds_is_away_comes_to_the_control_plane_at_a_pace_and_no_known_customer_notices(
    tmp_path: Path,
) -> None:
    known = customers(40)
    lookup = {"refuse_rate": float(REFUSE_RATE), "rate": float(RATE), "burst": BURST, "refresh": 30.0, "timeout": 0.5}
    with looking_up(tmp_path, lookup) as looked:
        edge = looked.edge
        for host, pod in known:
            edge.becomes(host, pod)
        until(lambda: looked.at_envoy(*dict(known)), "all are known")
        looked.gds.go()
        before, memory = looked.metric("lookup_asked_total", by="request"), resident(edge)
        load = Load(edge.system.ports.edge_https, edge.system.tls(), Whereabouts(dict(known)), rate=60)
        connections = 24  # fewer than the questions that an Envoy has open at a time: it refuses none itself
        began = time.monotonic()
        with Scan(edge.system.ports.edge_https, edge.system.tls(), connections) as scan, load:
            time.sleep(SECONDS / 2)
        took = time.monotonic() - began
        load.prove()
        assert set(scan.statuses) == {503}
        assert looked.metric("lookup_asked_total", by="request") - before <= RATE * (took + 1) + BURST
        assert grown(edge, memory) < 64 * MIB
        assert REFUSE_RATE < scan.statuses.total() <= REFUSE_RATE * (took + 1) + connections


def test_a_first_visit_has_its_turn_beside_a_scan_from_many_addresses(tmp_path: Path) -> None:
    addresses = [f"127.0.4.{number + 1}" for number in range(10)]
    lookup = {"rate": 10.0, "burst": 1, "timeout": 20.0, "patience": 30.0, "refresh": 600.0}
    with looking_up(tmp_path, lookup) as looked:
        edge, connections = looked.edge, 100
        with Scan(edge.system.ports.edge_https, edge.system.tls(), connections, addresses):
            until(lambda: looked.metric("lookup_waiting") >= connections - 1, "the whole scan waits")
            for host, pod in customers(4)[1:]:
                before = looked.gds.asked.total()
                assert asked_from(edge, host, "127.0.0.8").headers["x-pod"] == pod
                # One of each address, and what was asked while the visit was on its way; in order it would be all.
                assert looked.gds.asked.total() - before <= connections / 2
