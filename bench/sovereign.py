"""Beside Sovereign (PyPI), the other control plane in Python: change → first request answered by the new pod.

``python -m bench.sovereign [--domains 1000 10000] [--moves 10]``. Both run at once, each with an Envoy of its own, and
take turns. Sovereign 0.32.12 lives in a virtual environment of its own (``.venv/sovereign``, made when it isn't there)
and is set up as quickly as it can be: Envoy asks it over REST every 100 ms, which is the only way it offers; one
worker; a template in Python, not in Jinja; one virtual host per domain; clusters and listener stand in Envoy's
bootstrap, without TLS. Its directory is a JSON file that is replaced atomically, and the time counts from then on.

``source``: the file is a context that is loaded again every second, the quickest setting. ``direct``: the template
itself reads the file at every question, which skips that wait.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.edge import Asker, Edge, Gds, running, sample
from bench.report import RESULTS, Report, quantile
from demo.processes import Process
from demo.system import LOOPBACK, ROOT, envoy_binary, free_ports

VERSION = "0.32.12"
ENVIRONMENT = ROOT / ".venv" / "sovereign"

_TEMPLATE = """
def call(**context):
    {homes}
    hosts = [
        {{"name": domain, "domains": [domain],
         "routes": [{{"match": {{"prefix": "/"}}, "route": {{"cluster": pod, "timeout": "0s"}}}}]}}
        for domain, pod in homes.items()
    ]
    yield {{"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "edge",
           "virtual_hosts": hosts}}
"""


@dataclass
class Sovereign:
    """Its process and its Envoy's. ``homes``: where each domain is."""

    folder: Path
    edge: Edge
    homes: dict[str, str]
    direct: bool

    def __post_init__(self) -> None:
        self.port, self.http, self.admin = free_ports(3)
        self.file = self.folder / "homes.json"

    @contextlib.contextmanager
    def running(self) -> Iterator[Sovereign]:
        self.write()
        read = (
            f"import json; homes = json.load(open({str(self.file)!r}))" if self.direct else 'homes = context["homes"]'
        )
        (self.folder / "routes.py").write_text(_TEMPLATE.format(homes=read))
        (self.folder / "sovereign.yaml").write_text(json.dumps(self._settings()))
        (self.folder / "envoy.yaml").write_text(json.dumps(self._bootstrap()))
        command = ["env", f"SOVEREIGN_CONFIG=file+json://{self.folder}/sovereign.yaml", "SOVEREIGN_WORKERS=1"]
        command += [f"SOVEREIGN_PORT={self.port}", f"SOVEREIGN_HOST={LOOPBACK}", "SOVEREIGN_ENABLE_ACCESS_LOGS=false"]
        command += ["PYTHONPATH=", str(ENVIRONMENT / "bin" / "sovereign")]
        sovereign = Process("sovereign", command, self.folder / "sovereign.log", self.folder)
        envoy = [envoy_binary(), "-c", str(self.folder / "envoy.yaml"), "--disable-hot-restart", "-l", "warning"]
        envoy += ["--concurrency", "2", "--service-cluster", "edge", "--service-node", "edge-1"]
        edge = Process("envoy", envoy, self.folder / "envoy.log", self.folder)
        try:
            yield self
        finally:
            edge.stop()
            sovereign.stop()

    def write(self) -> None:
        new = self.folder / "homes.new"
        new.write_text(json.dumps(self.homes))
        os.replace(new, self.file)

    def _settings(self) -> dict[str, object]:
        python = {"protocol": "python", "serialization": "raw", "path": str(self.folder / "routes.py")}
        homes = {"protocol": "file", "serialization": "json", "path": str(self.file)}
        context: dict[str, object] = {} if self.direct else {"homes": homes}
        return {
            "templates": {"default": [{"type": "routes", "spec": python}]},
            "template_context": {"context": context, "refresh": True, "refresh_rate": 1},
            "authentication": {"enabled": False},
            "logging": {"access_logs": {"enabled": False}},
        }

    def _bootstrap(self) -> dict[str, object]:
        clusters = [_cluster(name, port) for name, port in [*self.edge.pods.items(), ("sovereign", self.port)]]
        rest = {"api_type": "REST", "transport_api_version": "V3", "cluster_names": ["sovereign"]}
        source = {"api_config_source": {**rest, "refresh_delay": "0.1s", "request_timeout": "30s"}}
        manager = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
            ".HttpConnectionManager",
            "stat_prefix": "edge",
            "rds": {"route_config_name": "edge", "config_source": {**source, "resource_api_version": "V3"}},
            "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
        }
        listener = {
            "name": "edge",
            "address": _address(self.http),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }
        return {
            "admin": {"address": _address(self.admin)},
            "static_resources": {"clusters": clusters, "listeners": [listener]},
        }


_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}


def _cluster(name: str, port: int) -> dict[str, object]:
    endpoint = {"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}
    return {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": [endpoint]}}


def install() -> None:
    if not (ENVIRONMENT / "bin" / "sovereign").exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        command = [str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", f"sovereign=={VERSION}"]
        subprocess.run(command, check=True, timeout=600)


def _seen(asker: Asker, domain: str, pod: str, since: float) -> float:
    while asker.ask(domain) != pod:
        if time.monotonic() - since > 120:
            raise SystemExit(f"{domain} is not at {pod} after 120 s")
        time.sleep(0.0005)
    return (time.monotonic() - since) * 1000


def measure(edge: Edge, sovereign: Sovereign, moves: int) -> tuple[list[float], list[float]]:
    """Milliseconds from the change to the first request at the new pod: ours, and Sovereign's."""
    gds, asker = Gds(edge), Asker(edge)
    other = Asker(edge, sovereign.http)
    some = sample(list(edge.homes), moves)
    _seen(other, some[0], sovereign.homes[some[0]], time.monotonic())
    ours, theirs = [], []
    for domain in some:
        pod, revision = gds.move(domain)
        now = time.monotonic()
        took = _seen(asker, domain, pod, now)
        committed = next(event["t"] for event in edge.commits.read() if event["revision"] == revision)
        ours.append(took + (now - committed) * 1000)
        sovereign.homes[domain] = pod
        sovereign.write()
        theirs.append(_seen(other, domain, pod, time.monotonic()))
        time.sleep(0.37)
    return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.sovereign", description=__doc__)
    parser.add_argument("--domains", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--moves", type=int, default=10)
    parser.add_argument("--json", type=Path, default=RESULTS / "sovereign.json")
    options = parser.parse_args()
    install()
    report = Report(f"Change → first request at the new pod, beside Sovereign {VERSION}")
    for domains in options.domains:
        for direct in (False, True):
            with (
                tempfile.TemporaryDirectory() as folder,
                tempfile.TemporaryDirectory() as other,
                running(Path(folder), domains) as edge,
                Sovereign(Path(other), edge, dict(edge.homes), direct).running() as sovereign,
            ):
                ours, theirs = (quantile(times, 0.5) for times in measure(edge, sovereign, options.moves))
                report.add(
                    domains=domains,
                    sovereign="direct" if direct else "source",
                    moves=options.moves,
                    pointsman_ms=ours,
                    sovereign_ms=theirs,
                    ratio=theirs / ours,
                )
    report.show(options.json)


if __name__ == "__main__":
    main()
