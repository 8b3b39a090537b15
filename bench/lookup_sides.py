"""Who is compared by `bench.lookup`: HAProxy with its Lua in both ways, and our edge in lookup mode. Each has a GDS of
its own that has one call, and the same pods."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.haproxy import MAP_FIRST, PUBLISHED, HAProxy
from demo.processes import Process
from demo.system import BASE, LOOPBACK, Ports, System, answers, free_ports, listens

OURS = "pointsman"
SIDES = (PUBLISHED, MAP_FIRST, OURS)
SNI = "edge.example.com"
BUSY = 120.0
"""Seconds that a part may take to get ready, on a machine that has much else to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``status`` is 0 when there is none. ``seconds`` are those that it took, over a connection that was open."""

    status: int
    pod: str
    seconds: float


class Asker:
    """One TLS connection to an edge, request after request."""

    def __init__(self, port: int, tls: ssl.SSLContext, patience: float = 30.0, source: str = LOOPBACK) -> None:
        self._port = port
        self._tls = tls
        self._patience = patience
        self._source = source
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, host: str) -> Answer:
        if self._connection is None:
            plain = socket.create_connection((LOOPBACK, self._port), self._patience, (self._source, 0))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection = http.client.HTTPConnection(LOOPBACK, self._port)
            self._connection.sock = self._tls.wrap_socket(plain, server_hostname=SNI)
        began = time.perf_counter()
        try:
            self._connection.request("GET", "/", headers={"host": host})
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return Answer(0, "", time.perf_counter() - began)
        took = time.perf_counter() - began
        pod = answer.headers.get("x-pod", "")
        if answer.will_close:
            self.close()
        return Answer(answer.status, pod, took)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass
class Side:
    """One of `SIDES`, which runs from `start` to `stop`. ``homes``: what its GDS knows; ``lookup``: our settings."""

    name: str
    folder: Path
    pods: Mapping[str, int]
    homes: Mapping[str, str]
    lookup: Mapping[str, object] = field(default_factory=dict)
    _ports: list[int] = field(default_factory=lambda: free_ports(7))
    _parts: dict[str, Process] = field(default_factory=dict)
    _system: System | None = None
    _api: httpx.Client | None = None

    @property
    def gds_port(self) -> int:
        return self._ports[0]

    @property
    def port(self) -> int:
        """Of its edge, https."""
        return self._ports[1]

    @property
    def api_url(self) -> str:
        """Of ours."""
        return self._made().api_url

    def processes(self) -> Mapping[str, Process]:
        """Ours: Envoy's and the control plane's."""
        return self._made().parts

    def tls(self) -> ssl.SSLContext:
        return self._made().tls()

    def start(self) -> None:
        """Raises DemoError when a part doesn't start."""
        system = self._made()
        system.prepare()
        self.start_gds()
        if self.name == OURS:
            self._start_ours(system)
            return
        certificate = self.folder / "certs" / "certificates" / "edge"
        proxy = HAProxy(self.name, self.port, self.gds_port, BASE, self.pods, certificate, connections=4_000)
        self._parts["proxy"] = started = proxy.start(self.folder / "haproxy", ())
        started.wait_until(lambda: listens(self.port))

    def start_gds(self) -> None:
        homes = self.folder / "homes"
        homes.write_text("".join(f"{host} {pod}\n" for host, pod in self.homes.items()))
        command = [sys.executable, "-m", "bench.one_call_gds", str(self.gds_port), BASE, str(homes)]
        self._parts["gds"] = Process("gds", command, self.folder / "gds.log", self.folder)
        self._parts["gds"].wait_until(lambda: listens(self.gds_port))

    def stop_gds(self) -> None:
        self._parts.pop("gds").stop()

    def stop(self) -> None:
        for name in sorted(self._parts, key=lambda name: name == "gds"):
            self._parts.pop(name).stop()
        if self._api is not None:
            self._api.close()
        if self._system is not None:
            self._system.stop()

    def gds(self, *words: str) -> str:
        """Tells its GDS something: see `bench.one_call_gds`."""
        url = f"http://{LOOPBACK}:{self.gds_port}/control/{'/'.join(words)}"
        return httpx.get(url, timeout=10, trust_env=False).raise_for_status().text

    def gds_seconds(self, host: str) -> float:
        """How long its GDS takes for itself, over a connection that is open."""
        connection = http.client.HTTPConnection(LOOPBACK, self.gds_port, timeout=10)
        connection.connect()
        began = time.perf_counter()
        connection.request("GET", f"{BASE}/backend/{host}")
        connection.getresponse().read()
        took = time.perf_counter() - began
        connection.close()
        return took

    def refresh(self, host: str) -> None:
        """Tells ours that a host may have moved, as GDS's owner would."""
        if self._api is None:
            token = (self.folder / "state" / "token").read_text().strip()
            headers = {"authorization": f"Bearer {token}"}
            self._api = httpx.Client(base_url=self._made().api_url, headers=headers, trust_env=False, timeout=30)
        self._api.post(f"/api/v1/domains/{host}/refresh", json={"by": "bench"}).raise_for_status()

    def _made(self) -> System:
        if self._system is None:
            gds, edge, xds, api, plain, admin, _ = self._ports
            # The Lua waits for ten seconds, and everybody may ask it as often: all come from one address here.
            lookup = {"pods": "pods.json", "timeout": 5.0, "patience": 6.0, "address_rate": 0, **self.lookup}
            settings: dict[str, dict[str, object]] = {
                "gds": {"mode": "lookup"},
                "lookup": lookup,
                "guard": {"minimum": 10_000},  # of a few hundred domains more than a hundred move within a minute
                "log": {"level": "warning"},
            }
            self._system = System(self.folder, Ports(gds, xds, api, edge, plain, admin), settings)
        return self._system

    def _start_ours(self, system: System) -> None:
        pods = [{"name": n, "endpoints": [{"address": LOOPBACK, "port": p}]} for n, p in self.pods.items()]
        (self.folder / "pods.json").write_text(json.dumps(pods))
        system.start_control_plane().wait_until(lambda: answers(f"{system.api_url}/readyz"), BUSY)
        envoy = system.start_envoy()
        envoy.wait_until(lambda: answers(f"{system.admin_url}/ready") and listens(self.port), BUSY)
        asker = Asker(self.port, self.tls())
        some = next(iter(self.homes))
        envoy.wait_until(lambda: asker.ask(some).status == 200, BUSY)
        asker.close()
