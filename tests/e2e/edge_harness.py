"""A running edge, and what the tests do to it: ask it as a client would, change GDS, wait for what must come."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from nursery import Sooner

from demo.system import LOOPBACK, WITHOUT_TLS, Ports, System, envoy_binary, free_ports

PATIENCE = 40.0
"""Seconds in which a change must be at the edge, on a machine that is busy with other things."""

RUNNING = ("pod1", "pod2", "pod3")

VARIANT = os.environ.get("POINTSMAN_TEST_VARIANT", "delta")
"""How Envoy asks: "delta" or "sotw". ``make test-matrix`` runs these tests with both, and with two Envoys."""


def envoy_is(version: str) -> bool:
    """``version``: such as "1.36"."""
    said = subprocess.run([envoy_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    return f"/{version}." in said


@dataclass(frozen=True)
class Answer:
    status: int
    pod: str
    headers: Mapping[str, str]
    seen: Mapping[str, Any]
    """What the pod says that it was sent."""


class Edge:
    """Three pods run behind it. Each request is made on a connection of its own unless `session` is used."""

    def __init__(self, system: System, pods: Mapping[str, int]) -> None:
        self.system = system
        self.pods = pods
        self.gds = httpx.Client(base_url=system.gds_url, timeout=30, trust_env=False, verify=False)
        self.http = {h2: self.client(h2) for h2 in (False, True)}

    def close(self) -> None:
        for client in (self.gds, *self.http.values()):
            client.close()

    def ask(self, host: str, path: str = "/", *, h2: bool = False, headers: Mapping[str, str] | None = None) -> Answer:
        """A request over https. The Host header is sent as given; SNI is a name of the certificate."""
        url = f"https://{LOOPBACK}:{self.system.ports.edge_https}{path}"
        extensions = {"sni_hostname": "edge.example.com"}
        sent = {"host": host, **(headers or {})}
        return _answer(self.http[h2].get(url, headers=sent, extensions=extensions))

    def ask_plain(self, host: str, path: str = "/") -> Answer:
        """A request over http, which is only redirected."""
        url = f"http://{LOOPBACK}:{self.system.ports.edge_http}{path}"
        return _answer(self.http[False].get(url, headers={"host": host}))

    def put(self, domain: str, pod: str) -> int:
        answer = self.gds.put(f"/backend/{domain}", json={"pod": pod})
        assert answer.status_code in (200, 201), answer.text
        return int(answer.json()["revision"])

    def delete(self, domain: str) -> None:
        assert self.gds.delete(f"/backend/{domain}").status_code == 204

    def load(self, *records: Mapping[str, str]) -> None:
        answer = self.gds.post("/backends", content="".join(json.dumps(record) + "\n" for record in records))
        assert answer.status_code == 200, answer.text

    def put_pod(self, name: str, *ports: int, **more: object) -> None:
        endpoints = [{"address": LOOPBACK, "port": port} for port in ports]
        answer = self.gds.put(f"/pods/{name}", json={"datacenter": "dc1", "endpoints": endpoints, **more})
        assert answer.status_code in (200, 201), answer.text

    def becomes(self, host: str, pod: str, **how: Any) -> None:
        """``host`` is answered by ``pod`` within PATIENCE; "" stands for a 404."""
        wanted = (200, pod) if pod else (404, "")
        until(
            lambda: (answer := self.ask(host, **how)).status == wanted[0] and answer.pod == wanted[1], f"{host} → {pod}"
        )

    def nodes(self) -> list[dict[str, Any]]:
        url = f"{self.system.api_url}/api/v1/nodes?limit=1000"
        answer: list[dict[str, Any]] = WITHOUT_TLS.get(url).json()["items"]
        return answer

    def config_dump(self, resource: str) -> list[dict[str, Any]]:
        url = f"{self.system.admin_url}/config_dump?resource={resource}"
        answer: list[dict[str, Any]] = WITHOUT_TLS.get(url).json().get("configs", [])
        return answer

    def stats(self, like: str) -> dict[str, int]:
        text = WITHOUT_TLS.get(f"{self.system.admin_url}/stats?filter={like}").text
        pairs = (line.rsplit(": ", 1) for line in text.splitlines())
        return {name: int(value) for name, value in pairs if value.isdigit()}

    def client(self, h2: bool) -> httpx.Client:
        return httpx.Client(http1=not h2, http2=h2, verify=self.system.tls(), timeout=30, trust_env=False)


def until(ready: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not ready():
        assert time.monotonic() < end, f"not within {patience:.0f} s: {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def running(
    folder: Path,
    settings: Mapping[str, Mapping[str, object]] | Callable[[Ports], Mapping[str, Mapping[str, object]]] | None = None,
    domains: int = 200,
    *,
    bootstrap: Mapping[str, str] | None = None,
    answers: Callable[[Edge], bool] = lambda edge: edge.ask("t0.example.com").status == 200,
    variant: str = VARIANT,
) -> Iterator[Edge]:
    """An edge with ``domains`` customers on three pods; all parts are ended when the block ends. ``settings`` may be
    made from the ports. ``bootstrap``: what is replaced in Envoy's; ``answers``: says when it is ready."""
    pods = dict(zip(RUNNING, free_ports(len(RUNNING)), strict=True))
    ports = Ports.free()
    chosen = settings(ports) if callable(settings) else settings
    system = Sooner(folder, ports, chosen or {}, heartbeat=1.0, sotw=variant == "sotw")
    system.prepare()
    for old, new in (bootstrap or {}).items():
        text = (folder / "envoy.yaml").read_text()
        assert text.count(old) == 1, f"in Envoy's bootstrap, {old!r} stands {text.count(old)} times"
        (folder / "envoy.yaml").write_text(text.replace(old, new))
    homes = [{"name": n, "datacenter": "dc1", "endpoints": [{"address": LOOPBACK, "port": p}]} for n, p in pods.items()]
    system.load(customers(domains), homes)
    (folder / "pods.json").write_text(json.dumps(homes))  # for control planes that GDS doesn't tell
    try:
        system.start_gds()
        system.start_control_plane()
        system.start_envoy()
        for name, port in pods.items():
            system.start_pod(name, port)
        for name, port in pods.items():
            system.wait_pod(name, port)
        system.wait_gds()
        system.wait_control_plane()
        system.wait_envoy()
        edge = Edge(system, pods)
        until(lambda: answers(edge), "the first answer")
        with contextlib.closing(edge):
            yield edge
    finally:
        system.stop()


def customers(count: int) -> list[tuple[str, str]]:
    return [(f"{_prefix(n)}{n}.example.com", RUNNING[n % len(RUNNING)]) for n in range(count)]


def _prefix(number: int) -> str:
    return "t" if number == 0 else chr(ord("a") + number % 26)


def raw(edge: Edge, request: bytes) -> bytes:
    """The first bytes answered to ``request``, sent as it stands over TLS."""
    context = edge.system.tls()
    with (
        socket.create_connection((LOOPBACK, edge.system.ports.edge_https), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="edge.example.com") as tls,
    ):
        tls.sendall(request)
        with contextlib.suppress(ssl.SSLError):
            return tls.recv(4096)
    return b""


def _answer(response: httpx.Response) -> Answer:
    seen = response.json() if response.headers.get("content-type") == "application/json" else {}
    return Answer(response.status_code, response.headers.get("x-pod", ""), response.headers, seen)
