"""Where a configuration is read from: an Envoy's admin, a file of it, or what would be sent with given settings."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import betterproto2
import httpx
import yaml

from xds.edge_options import edge_of
from xds.edge_settings import host_and_port
from xds.errors import GdsError, LintError, RecordError
from xds.gds.model import Pod, Snapshot, check_domain
from xds.gds.snapshot import SnapshotReader
from xds.lint.config import Config, from_dump
from xds.resources.clusters import cluster
from xds.resources.listeners import listeners
from xds.resources.port80 import acme_cluster
from xds.resources.routes import route_table
from xds.resources.tls import Tls
from xds.settings import Settings

TIMEOUT = 30.0
SAMPLE = Snapshot("", 0, (Pod("pod"),), [("domain.example", "pod")])
"""Stands for the directory where nothing is said of it."""


def running(source: str) -> Config:
    """``source``: the URL of an Envoy's admin interface or of its /config_dump, or a file. Raises LintError."""
    try:
        if source.startswith(("http://", "https://")):
            url = source if "/config_dump" in source else source.rstrip("/") + "/config_dump"
            answer = httpx.get(url, timeout=TIMEOUT, trust_env=False)
            answer.raise_for_status()
            text = answer.text
        else:
            text = Path(source).read_text()
        return from_dump(json.loads(text))
    except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise LintError(f"{source} can't be read: {error}") from None
    except ValueError as error:
        raise LintError(f"{source} is not JSON: {error}") from None


def planned(bootstrap: Path, settings: Settings, snapshot: Snapshot = SAMPLE) -> Config:
    """What an Envoy of this bootstrap file would be sent with ``settings`` and GDS's ``snapshot``. One name stands for
    those of the service's certificate. Raises LintError or SettingsError."""
    try:
        boot = yaml.safe_load(bootstrap.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LintError(f"bootstrap {bootstrap} can't be read: {error}") from None
    if not isinstance(boot, dict):
        raise LintError(f"bootstrap {bootstrap} is no mapping: is it Envoy's?")
    timeout = timedelta(seconds=settings.edge.connect_timeout)
    clusters = [cluster(pod, timeout, settings.edge.pods_http2) for pod in snapshot.pods]
    if settings.edge.acme:
        clusters.append(acme_cluster(*host_and_port(settings.edge.acme), timeout))
    tls, names = settings.edge.tls, ("service.invalid",)
    made = Tls(
        settings.edge.certificate,
        names,
        tls.unknown_sni,
        tls.on_demand.enabled,
        prefetch=tls.on_demand.prefetch,
        tickets=True,
        handshake_timeout=timedelta(seconds=tls.on_demand.handshake_timeout),
    )
    edge = edge_of(settings, made)
    idle = timedelta(seconds=settings.edge.timeouts.transfer_idle)
    table = route_table(0, _shares(snapshot), asking=edge.asking is not None, idle=idle)
    static = boot.get("static_resources", {}).get("clusters", [])
    return Config(
        bootstrap=boot,
        listeners=tuple(_json(listener) for listener in listeners(edge, settings.edge.tables)),
        clusters=(*static, *(_json(each) for each in clusters)),
        tables=(_json(table),),
        hosts={settings.edge.certificate: names},
        names=tls.on_demand.names,
    )


def snapshot_of(path: Path) -> Snapshot:
    """Of a file that GDS answered to ``GET /backends``. Raises LintError."""
    reader = SnapshotReader()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                reader.feed(chunk)
        return reader.finish()
    except (OSError, GdsError) as error:
        raise LintError(f"snapshot {path} can't be read: {error}") from None


def _shares(snapshot: Snapshot) -> dict[str, list[str]]:
    """Each pod's domains. Records that would be set aside aren't in any table."""
    shares: dict[str, list[str]] = {pod.name: [] for pod in snapshot.pods}
    for domain, pod in snapshot.domains:
        with contextlib.suppress(RecordError):
            check_domain(domain)
            if pod in shares:
                shares[pod].append(domain)
    return {pod: domains for pod, domains in shares.items() if domains}


def _json(message: betterproto2.Message) -> dict[str, Any]:
    return message.to_dict(casing=betterproto2.Casing.SNAKE)
