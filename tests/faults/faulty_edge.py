"""A running edge whose parts can be taken away, replaced, slowed and cut: what the tests of faults stand on.

One Envoy or several, one control plane or several beside each other (on 127.0.0.2, 127.0.0.3 …, found by name, as in
production), GDS, three pods. ``proxied`` puts a `TcpProxy` between them: "gds" before GDS, "xds" before the control
planes.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil
from edge_harness import RUNNING, Edge, customers, until
from name_server import NameServer
from nursery import Nursery, Sooner, shared
from steady_load import Load
from tcp_proxy import TcpProxy
from whereabouts import Whereabouts

from demo.processes import Process
from demo.system import BASE, LOOPBACK, WITHOUT_TLS, Ports, System, envoy_binary, free_ports, toml

KNOWN = 100
"""Domains that the load asks for."""


class FaultyEdge(Edge):
    """`Edge` with replicas, proxies and a load. ``replica`` is the number of a control plane, from 0."""

    def __init__(
        self,
        system: System,
        pods: Mapping[str, int],
        apis: list[int],
        proxies: Mapping[str, TcpProxy],
        nursery: Nursery,
    ) -> None:
        super().__init__(system, pods)
        self.apis = apis
        self.proxies = proxies
        self.nursery = nursery
        self.names: NameServer | None = None
        self.where = Whereabouts({domain: pod for domain, pod in customers(KNOWN)})

    @property
    def tls(self) -> Any:
        return self.system.tls()

    def load_on(self, port: int | None = None, **how: Any) -> Load:
        """A steady load on this Envoy, or the one at ``port``."""
        return Load(port or self.system.ports.edge_https, self.system.tls(), self.where, **how)

    def move(self, domain: str, pod: str) -> float:
        """Tells the load, then GDS; returns when GDS had it (monotonic seconds)."""
        self.where.moves(domain, pod, time.monotonic())
        self.put(domain, pod)
        return time.monotonic()

    def elsewhere(self, domain: str) -> str:
        """A pod that it isn't on: the next one."""
        return RUNNING[(RUNNING.index(self.where.pod(domain)) + 1) % len(RUNNING)]

    def arrives(self, domain: str, patience: float = 20.0) -> None:
        """The domain is answered by the pod of its last move."""
        pod = self.where.pod(domain)
        until(lambda: self.ask(domain).pod == pod, f"{domain} on {pod}", patience)

    # Control planes.

    def start_replica(self, replica: int = 0, wait: bool = True) -> Process:
        name, folder = f"pointsman-{replica}", self.system.folder
        process = self.nursery.start(name, folder, "xds.cli", "serve", "-c", folder / f"{name}.toml")
        self.system.parts[name] = process
        if wait:
            process.wait_until(lambda: self.ready(replica).get("ready", False))
        return process

    def wait_replica(self, replica: int = 0) -> None:
        """Until it is ready: the whole system starts at once, on a machine that may be busy."""
        until(lambda: self.ready(replica).get("ready", False), f"replica {replica} is ready: {self.ready(replica)}", 90)

    def replica(self, replica: int = 0) -> Process:
        return self.system.parts[f"pointsman-{replica}"]

    def kill_replica(self, replica: int = 0, how: signal.Signals = signal.SIGKILL) -> int:
        return self.system.kill(f"pointsman-{replica}", how)

    def ready(self, replica: int = 0) -> dict[str, Any]:
        """What `/readyz` says; empty when nobody answers."""
        try:
            answer: dict[str, Any] = WITHOUT_TLS.get(f"{self._api(replica)}/readyz", timeout=10).json()
        except httpx.HTTPError:
            return {}
        return answer

    def metrics(self, replica: int = 0) -> dict[str, float]:
        """Those without labels, less their prefix ``pointsman_``."""
        text = WITHOUT_TLS.get(f"{self._api(replica)}/metrics").text
        rows = (line.split(" ") for line in text.splitlines() if line.startswith("pointsman_") and "{" not in line)
        return {name.removeprefix("pointsman_"): float(value) for name, value in rows}

    def nodes_of(self, replica: int = 0) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = WITHOUT_TLS.get(f"{self._api(replica)}/api/v1/nodes?limit=1000").json()["items"]
        return answer

    def nodes(self) -> list[dict[str, Any]]:
        return [node for replica in range(len(self.apis)) if self.ready(replica) for node in self.nodes_of(replica)]

    def memory(self, part: str) -> int:
        """Bytes that a part's process holds."""
        return int(psutil.Process(self.system.parts[part].pid).memory_info().rss)

    def files(self, part: str) -> int:
        """File descriptors that a part's process has open."""
        return psutil.Process(self.system.parts[part].pid).num_fds()

    # Envoys beside the first.

    def start_envoy(self, node: str, admin: int = 0) -> Process:
        """One more. Its listeners are on the same ports as the first's: the kernel leads a new connection to either.
        Its admin port is free to choose by the kernel, unless it is given."""
        text = (self.system.folder / "envoy.yaml").read_text()
        text = text.replace(f"port_value: {self.system.ports.admin} ", f"port_value: {admin} ")
        (self.system.folder / f"{node}.yaml").write_text(text)
        command: list[str | Path] = [envoy_binary(), "-c", self.system.folder / f"{node}.yaml", "--disable-hot-restart"]
        command += ["--service-cluster", "edge", "--service-node", node, "-l", "warning", "--concurrency", "1"]
        folder = self.system.folder
        self.system.parts[node] = Process(node, command, folder / f"{node}.log", folder)
        return self.system.parts[node]

    def _api(self, replica: int) -> str:
        return f"http://{LOOPBACK}:{self.apis[replica]}"


@contextlib.contextmanager
def running_faulty(
    folder: Path,
    settings: Mapping[str, Mapping[str, object]] | None = None,
    *,
    replicas: int = 1,
    proxied: Collection[str] = (),
    domains: int = 1_000,
    heartbeat: float = 1.0,
    environment: Mapping[str, str] | None = None,
    sotw: bool = False,
) -> Iterator[FaultyEdge]:
    """Everything runs and the first answers have come; all of it is ended when the block ends.

    With one replica the control plane is on loopback; with several they have addresses of their own and one port, and
    Envoy finds them by name. Proxying "xds" needs one replica. ``environment`` is the control planes'. ``sotw``: Envoys
    ask for the state of the world.
    """
    pods = dict(zip(RUNNING, free_ports(len(RUNNING)), strict=True))
    gds_proxy, xds_proxy, names, *apis = free_ports(3 + replicas)
    ports = Ports.free()
    given: dict[str, dict[str, object]] = {name: dict(values) for name, values in (settings or {}).items()}
    if "gds" in proxied:
        given.setdefault("gds", {})["url"] = f"http://{LOOPBACK}:{gds_proxy}{BASE}"
    system = Sooner(folder, ports, given, heartbeat=heartbeat, sotw=sotw)
    system.prepare()
    addresses = [LOOPBACK] if replicas == 1 else [f"127.0.0.{2 + number}" for number in range(replicas)]
    for number, (address, api) in enumerate(zip(addresses, apis, strict=True)):
        _settings_of(system, number, address, api)
    _bootstrap(system, xds_proxy if "xds" in proxied else ports.xds, names)
    homes = [{"name": n, "datacenter": "dc1", "endpoints": [{"address": LOOPBACK, "port": p}]} for n, p in pods.items()]
    system.load(customers(domains), homes)
    (folder / "pods.json").write_text(json.dumps(homes))  # for control planes that GDS doesn't tell
    with contextlib.ExitStack() as stack:
        proxies: dict[str, TcpProxy] = {}
        if "gds" in proxied:
            proxies["gds"] = stack.enter_context(TcpProxy((LOOPBACK, gds_proxy), (LOOPBACK, ports.gds)))
        if "xds" in proxied:
            proxies["xds"] = stack.enter_context(TcpProxy((LOOPBACK, xds_proxy), (addresses[0], ports.xds)))
        nursery = shared()
        if environment:
            nursery = Nursery(folder, dict(environment))
            stack.callback(nursery.stop)
        edge = FaultyEdge(system, pods, apis, proxies, nursery)
        stack.callback(edge.close)
        edge.names = stack.enter_context(NameServer(names, "pointsman", addresses if replicas > 1 else []))
        stack.callback(system.stop)
        system.start_gds()
        for name, port in pods.items():
            system.start_pod(name, port)
        system.wait_gds()
        for number in range(replicas):
            edge.start_replica(number, wait=False)
        system.start_envoy()
        for name, port in pods.items():
            system.wait_pod(name, port)
        for number in range(replicas):
            edge.wait_replica(number)
        system.wait_envoy()
        until(lambda: all(edge.ask(domain).status == 200 for domain in edge.where.domains[:3]), "the first answers")
        yield edge


def _settings_of(system: System, number: int, address: str, api: int) -> None:
    settings = system.merged_settings()
    settings["xds"]["address"] = address
    settings["http"]["port"] = api
    settings.setdefault("state", {}).setdefault("folder", f"state-{number}")
    (system.folder / f"pointsman-{number}.toml").write_text(toml(settings))


def _bootstrap(system: System, xds_port: int, names: int) -> None:
    """The bootstrap as it is shipped, but for ports, and for the name server that knows ``pointsman`` here."""
    file = system.folder / "envoy.yaml"
    text = file.read_text().replace(f"port_value: {system.ports.xds} ", f"port_value: {xds_port} ")
    resolver = (
        "typed_dns_resolver_config: { name: envoy.network.dns_resolver.cares, typed_config: { "
        '"@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig, '
        f"resolvers: [{{ socket_address: {{ address: {LOOPBACK}, port_value: {names} }} }}], "
        "dns_resolver_options: { no_default_search_domain: true } } }"
    )
    rate = "          dns_refresh_rate: 2s\n"
    assert rate in text
    file.write_text(text.replace(rate, f"{rate}          {resolver}\n"))
