"""The system that the benchmarks measure: real processes on this machine, with probes in GDS and the control plane."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import random
import socket
import string
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import psutil

from bench.timeline import Event, Lag, ProbeFile, lags
from demo.processes import DemoError, Process
from demo.system import LOOPBACK, ROOT, Ports, System, free_ports

PODS = 50
HEAP = 17179869184
"""What Envoy's overload manager is told that it may have: a table of a million virtual hosts needs more than the
demo's limit, and none of these benchmarks is about it."""


def names(count: int, seed: int = 1) -> Iterator[str]:
    """Host names whose first characters are spread evenly, the same for the same seed."""
    chance = random.Random(seed)
    letters = string.ascii_lowercase + string.digits
    for number in range(count):
        yield f"{''.join(chance.choices(letters, k=6))}{number}.example.com"


def pod_name(number: int) -> str:
    return f"pod{number % PODS + 1}"


def free_pods(count: int) -> dict[str, int]:
    """So many pods, by name, each with a port that nobody has."""
    return dict(zip(map(pod_name, range(count)), free_ports(count), strict=True))


@contextlib.contextmanager
def serving(pods: Mapping[str, int], log: Path) -> Iterator[None]:
    """All of them answer, from one process."""
    words = [f"{name}:{port}" for name, port in pods.items()]
    process = Process("pods", [sys.executable, "-m", "bench.pods", *words], log, ROOT)
    try:
        yield
    finally:
        process.stop()


@dataclass
class Edge(System):
    """A `demo.system.System` with 50 pods in one process. ``layout``: "pointsman", or "single" for one table with a
    virtual host per domain."""

    layout: str = "pointsman"
    pods: dict[str, int] = field(default_factory=lambda: dict(_named(free_ports(PODS))))
    homes: dict[str, str] = field(default_factory=dict)
    """Where each domain is."""
    commits: ProbeFile = field(init=False)
    probe: ProbeFile = field(init=False)
    started: Started = field(init=False)

    def prepare(self) -> None:
        super().prepare()
        bootstrap = self.folder / "envoy.yaml"
        text = bootstrap.read_text()
        bootstrap.write_text(text.replace("max_heap_size_bytes: 4294967296", f"max_heap_size_bytes: {HEAP}"))

    def merged_settings(self) -> dict[str, dict[str, object]]:
        """What is measured here moves more at once than the guard lets pass."""
        return {**super().merged_settings(), "guard": {"enabled": False}}

    def fill(self, domains: int) -> None:
        """Loads GDS's store with so many domains, one after the other on the next pod."""
        self.prepare()
        self.homes = {name: pod_name(number) for number, name in enumerate(names(domains))}
        endpoints = {name: [{"address": LOOPBACK, "port": port}] for name, port in self.pods.items()}
        self.load(self.homes.items(), [{"name": name, "endpoints": held} for name, held in endpoints.items()])

    def start_gds(self) -> Process:
        db = self.folder / "gds.sqlite"
        options: list[str | Path] = ["--db", db, "--port", str(self.ports.gds), "--heartbeat", str(self.heartbeat)]
        self.commits = ProbeFile(self.folder / "gds.probe")
        return self._start("gds", [*_probed(self.folder / "gds.probe"), "gds", *options])

    def start_control_plane(self) -> Process:
        self.probe = ProbeFile(self.folder / "pointsman.probe")
        options: list[str | Path] = [self.layout, "-c", self.folder / "pointsman.toml"]
        return self._start("pointsman", [*_probed(self.folder / "pointsman.probe"), *options])

    def start_pods(self) -> None:
        pods = [f"{name}:{port}" for name, port in self.pods.items()]
        self._start("pods", [sys.executable, "-m", "bench.pods", *pods])

    def start(self, patience: float = 120.0, *, envoy: bool = True) -> Started:
        """Starts every part, each when what it needs is there, and measures how long they take."""
        self.start_gds()
        self.wait_gds()
        began = time.monotonic()
        control_plane = self.start_control_plane()
        _wait(control_plane, lambda: any(event["e"] == "ready" for event in self.probe.read()), patience)
        self.wait_control_plane()
        ready = next(event["t"] for event in self.probe.events if event["e"] == "ready")
        asked = next(event["t"] for event in self.probe.events if event["e"] == "asked")
        started = Started(ready - began, ready - asked, rss_mb(control_plane))
        return replace(started, **self._start_edge(patience)) if envoy else started

    def _start_edge(self, patience: float) -> dict[str, float]:
        self.start_pods()
        began = time.monotonic()
        envoy = self.start_envoy()
        asker = Asker(self)
        some = sample(list(self.homes), 200)
        _wait(envoy, lambda: asker.all_right(some), patience)
        serving = time.monotonic()
        asker.close()
        _wait(envoy, lambda: any(event["e"] == "connected" for event in self.probe.read()), patience)
        connected = next(event["t"] for event in self.probe.events if event["e"] == "connected")
        return {"connected_to_serving": serving - connected, "envoy_to_serving": serving - began}

    def lags(self, since: float = 0.0) -> dict[int, Lag]:
        """Of all revisions published so far that were committed after ``since``."""
        found = lags(self.commits.read(), self.probe.read())
        return {revision: lag for revision, lag in found.items() if lag.committed >= since}

    def settled(self, revision: int, patience: float = 60.0) -> Lag:
        """Waits until the Envoy has ACKed what ``revision`` changed. Raises DemoError when it doesn't."""
        found: dict[int, Lag] = {}
        seen = 0

        def done(events: list[Event]) -> bool:
            nonlocal seen
            if len(events) > seen:
                seen = len(events)
                found.update(lags(self.commits.read(), events))
            return revision in found and bool(found[revision].acked)

        if not self.probe.wait(done, patience):
            raise DemoError(f"revision {revision} wasn't ACKed in {patience:.0f} s")
        return found[revision]

    def rx_bytes(self) -> int:
        """What Envoy has read from the control plane, after TLS."""
        return self.stat("cluster.pointsman_xds.upstream_cx_rx_bytes_total")

    def stat(self, name: str) -> int:
        url = f"{self.admin_url}/stats"
        answer = httpx.get(url, params={"filter": f"^{name}$", "format": "json"}, timeout=30, trust_env=False)
        return int(answer.json()["stats"][0]["value"])


@dataclass(frozen=True, slots=True)
class Started:
    """Seconds, and megabytes of resident memory."""

    started_to_ready: float
    """From the start of the control plane's process; the imports and the first certificate are in it."""
    snapshot_to_ready: float
    """From the question for the snapshot to its publication."""
    control_plane_mb: float
    connected_to_serving: float = 0.0
    """From a new Envoy's stream to 200 sampled domains, each answered by its pod."""
    envoy_to_serving: float = 0.0
    """The same from the start of its process."""


@contextlib.contextmanager
def running(
    folder: Path,
    domains: int,
    layout: str = "pointsman",
    patience: float = 120.0,
    *,
    envoy: bool = True,
    settings: Mapping[str, Mapping[str, object]] | None = None,
) -> Iterator[Edge]:
    """An edge with so many domains that serves all of them; ``started`` is how long that took. Without ``envoy`` it
    ends at the control plane. ``settings`` go over the demo's."""
    edge = Edge(folder, Ports.free(), settings or {}, layout=layout)
    edge.fill(domains)
    try:
        edge.started = edge.start(patience, envoy=envoy)
        yield edge
    finally:
        edge.stop()


class Asker:
    """One HTTPS connection to the edge, request after request, with as little of its own as can be. ``http``: a port
    to ask without TLS instead."""

    def __init__(self, edge: Edge, http: int | None = None) -> None:
        self._address = LOOPBACK, http or edge.ports.edge_https
        self._plain = http is not None
        self._tls = edge.tls()
        self._homes = edge.homes
        self._socket: socket.socket | None = None

    def ask(self, domain: str) -> str:
        """The pod that answers, empty when none does."""
        try:
            if self._socket is None:
                plain = socket.create_connection(self._address, timeout=30)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                tls = None if self._plain else self._tls.wrap_socket(plain, server_hostname="edge.example.com")
                self._socket = tls or plain
            self._socket.sendall(f"GET / HTTP/1.1\r\nhost: {domain}\r\n\r\n".encode())
            answer = b""
            while b"\r\n\r\n" not in answer:
                part = self._socket.recv(65536)
                if not part:
                    raise ConnectionError
                answer += part
            head, _, body = answer.partition(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            while len(body) < int(fields.get(b"content-length", 0)):
                body += self._socket.recv(65536)
            return fields.get(b"x-pod", b"").decode()
        except OSError:
            self.close()
            return ""

    def all_right(self, domains: list[str]) -> bool:
        return all(self.ask(domain) == self._homes[domain] for domain in domains)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Gds:
    """One keep-alive connection to GDS."""

    def __init__(self, edge: Edge) -> None:
        self._http = httpx.Client(base_url=edge.gds_url, trust_env=False, timeout=300)
        self._edge = edge

    def move(self, domain: str, pod: str | None = None) -> tuple[str, int]:
        """Puts the domain on ``pod`` or the next one; returns the pod and the revision."""
        pod = pod or pod_name(int(self._edge.homes[domain].removeprefix("pod")))
        answer = self._http.put(f"/backend/{domain}", json={"pod": pod}).raise_for_status().json()
        self._edge.homes[domain] = pod
        return pod, int(answer["revision"])

    def load(self, moves: dict[str, str]) -> int:
        """One transaction; returns its revision."""
        lines = "".join(json.dumps({"op": "put", "domain": name, "pod": pod}) + "\n" for name, pod in moves.items())
        answer = self._http.post("/backends", content=lines.encode()).raise_for_status().json()
        self._edge.homes.update(moves)
        return int(answer["revision"])

    def close(self) -> None:
        self._http.close()


def sample(domains: list[str], count: int) -> list[str]:
    return random.Random(2).sample(domains, min(count, len(domains)))


def rss_mb(process: Process) -> float:
    return float(psutil.Process(process.pid).memory_info().rss) / 1e6


def forget_peak(process: Process) -> None:
    """`peak_mb` counts from here on."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def peak_mb(process: Process) -> float:
    """The most resident memory that it had; not a number where the system doesn't say (Linux does)."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return math.nan


def cpu_seconds(process: Process) -> float:
    used = psutil.Process(process.pid).cpu_times()
    return float(used.user + used.system)


def _probed(path: Path) -> list[str | Path]:
    return [sys.executable, "-m", "bench.probed", path]


def _named(ports: list[int]) -> Iterator[tuple[str, int]]:
    return zip(map(pod_name, itertools.count()), ports, strict=False)


def _wait(process: Process, ready: Callable[[], bool], patience: float) -> None:
    """`demo.processes.Process.wait_until` with a patience of one's own."""
    end = time.monotonic() + patience
    while not ready():
        if process.ended or time.monotonic() > end:
            raise DemoError(f"{process.name} {'ended' if process.ended else 'is late'}: {process.last_words()}")
        time.sleep(0.01)
