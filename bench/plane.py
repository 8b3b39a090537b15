"""Our edge for measurements of the data plane: nginx for pods, and the generated configuration as it is or changed."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.edge import PODS, Edge, pod_name, sample
from bench.nginx import Nginx
from bench.timeline import ProbeFile
from bench.varied import VARIANTS
from demo.processes import Process
from demo.system import BASE, Ports, free_ports

HOSTS = 1_000


@dataclass
class Plane(Edge):
    """An edge whose pods are one nginx. ``variant`` is a change of `bench.varied`."""

    variant: str = ""
    nginx_ports: tuple[int, int] = (0, 0)
    """Of its GDS and of its TLS."""
    nginx: Nginx = field(init=False)

    def asked(self) -> list[str]:
        """A thousand hosts of one length, or as many as there are, from all over the directory and of every pod."""
        longest = max(map(len, self.homes))
        return sample([host for host in self.homes if len(host) == longest], HOSTS)

    def prepare(self) -> None:
        super().prepare()
        if self.variant:
            file = self.folder / "envoy.yaml"
            file.write_text(VARIANTS[self.variant].bootstrap(file.read_text()))

    @property
    def certificate(self) -> Path:
        return self.folder / "certs" / "certificates" / "edge"

    def start_pods(self) -> None:
        self.nginx = Nginx(self.pods, *self.nginx_ports, self.homes, self.certificate)
        self.parts["nginx"] = self.nginx.start(self.folder, BASE)

    def start_control_plane(self) -> Process:
        if not self.variant:
            return super().start_control_plane()
        self.probe = ProbeFile(self.folder / "pointsman.probe")
        command: list[str | Path] = [sys.executable, "-m", "bench.varied", self.variant]
        return self._start(
            "pointsman", [*command, self.folder / "pointsman.probe", "-c", self.folder / "pointsman.toml"]
        )


@contextlib.contextmanager
def plane(domains: int, variant: str = "", concurrency: int = 2) -> Iterator[Plane]:
    """Serves so many domains while the block runs, with ``concurrency`` workers or as many as the variant says."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        gds, tls, *ports = free_ports(8 + PODS)  # all at once: what is free twice may come twice
        pods = dict(zip(map(pod_name, range(PODS)), ports[6:], strict=True))
        made = Plane(Path(folder), Ports(*ports[:6]), variant=variant, pods=pods, nginx_ports=(gds, tls))
        made.concurrency = min(concurrency, VARIANTS[variant].concurrency) if variant else concurrency
        made.fill(domains)
        try:
            made.started = made.start()
            yield made
        finally:
            made.stop()
