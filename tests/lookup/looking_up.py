"""The edge's harness in lookup mode, with the oldest GDS before the real one."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

from edge_harness import Edge, running, until
from oldest_gds import OldestGds

from demo.system import WITHOUT_TLS, free_ports

QUICK = {
    **{"refresh": 1.0, "grace": 2.0, "unknown_for": 1.0, "timeout": 5.0, "patience": 8.0, "pause": 0.3},
    **{"address_rate": 10_000, "address_burst": 10_000},
}
"""Settings ``lookup`` with which a test needn't wait long, and may ask as often as it likes."""


@dataclass(frozen=True)
class Looked:
    edge: Edge
    gds: OldestGds
    folder: Path

    def metric(self, name: str, **labels: str) -> float:
        """Of the control plane; without labels, the only sample of that name."""
        text = WITHOUT_TLS.get(f"{self.edge.system.api_url}/metrics").text
        shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
        wanted = f"pointsman_{name}{{{shown}}} " if labels else f"pointsman_{name} "
        (line,) = [line for line in text.splitlines() if line.startswith(wanted)]
        return float(line.rpartition(" ")[2])

    def ready(self) -> dict[str, object]:
        answer: dict[str, object] = WITHOUT_TLS.get(f"{self.edge.system.api_url}/readyz").json()
        return answer

    def knows(self, host: str) -> bool:
        return WITHOUT_TLS.get(f"{self.edge.system.api_url}/api/v1/domains/{host}").status_code == 200

    def table(self, host: str) -> str:
        """The name of the table in which a known host stands."""
        answer = WITHOUT_TLS.get(f"{self.edge.system.api_url}/api/v1/domains/{host}").json()
        return str(answer["table"])

    def at_envoy(self, *hosts: str) -> bool:
        """Envoy's tables have a virtual host for each of them."""
        return {*hosts} <= held_by(self.edge.system.admin_url)

    def learned(self, host: str, pod: str) -> None:
        """Asks for it, and waits until Envoy has it."""
        self.all_learned({host: pod})

    def all_learned(self, homes: Mapping[str, str]) -> None:
        for host, pod in homes.items():
            until(lambda host=host, pod=pod: self.edge.ask(host).pod == pod, f"{host} → {pod}")  # type: ignore[misc]
        until(lambda: self.at_envoy(*homes), "they are at Envoy")


def held_by(admin_url: str) -> set[str]:
    """The hosts for which the Envoy of this admin interface has a virtual host."""
    url = f"{admin_url}/config_dump?resource=dynamic_route_configs"
    return {
        host
        for table in WITHOUT_TLS.get(url).json().get("configs", ())
        for virtual in table["route_config"].get("virtual_hosts", ())
        for host in virtual["domains"]
    }


def asked_from(edge: Edge, host: str, source: str) -> HTTPResponse:
    """The answer to a request from this address, on a connection of its own."""
    plain = socket.create_connection(("127.0.0.1", edge.system.ports.edge_https), 20, (source, 0))
    with edge.system.tls().wrap_socket(plain, server_hostname="edge.example.com") as tls:
        tls.sendall(f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        answer = HTTPResponse(tls)
        answer.begin()
        answer.read()
        return answer


def checks(admin_url: str) -> int:
    """Questions that the Envoy of this admin interface put to the control plane, answered or not."""
    text = WITHOUT_TLS.get(f"{admin_url}/stats?filter=http.https.ext_authz").text
    counts = dict(line.rsplit(": ", 1) for line in text.splitlines())
    return sum(int(count) for name, count in counts.items() if name.endswith((".ok", ".denied", ".error")))


@contextlib.contextmanager
def looking_up(
    folder: Path,
    lookup: Mapping[str, object] | None = None,
    more: Mapping[str, Mapping[str, object]] | None = None,
    domains: int = 200,
    bootstrap: Mapping[str, str] | None = None,
    known: Callable[[Edge], bool] = lambda edge: edge.ask("t0.example.com").status == 200,
) -> Iterator[Looked]:
    """``known``: asks the edge for a customer, and says whether that was answered."""
    with OldestGds(*free_ports(1)) as gds:
        settings: dict[str, Mapping[str, object]] = {
            "gds": {"mode": "lookup", "url": gds.url},
            "lookup": {**QUICK, **(lookup or {})},
            "edge": {"misdirected": False},
            **(more or {}),
        }

        def answers(edge: Edge) -> bool:
            gds.behind = edge.system.gds_url
            return known(edge)

        with running(folder, settings, domains, bootstrap=bootstrap, answers=answers) as edge:
            yield Looked(edge, gds, folder)


def write_pods(folder: Path, pods: Mapping[str, int]) -> None:
    """The pods file, with these ports of loopback."""
    made = [
        {"name": name, "datacenter": "dc1", "endpoints": [{"address": "127.0.0.1", "port": port}]}
        for name, port in pods.items()
    ]
    (folder / "pods.json").write_text(json.dumps(made))
