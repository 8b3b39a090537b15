"""Where a configuration is read from: an Envoy's admin, a file of it, or what would be sent with given settings."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import betterproto2
import httpx
import yaml

from xds.edge_options import edge_of
from xds.edge_settings import host_and_port
from xds.errors import LintError
from xds.gds.model import Pod
from xds.lint.config import Config, from_dump
from xds.resources.clusters import cluster
from xds.resources.listeners import listeners
from xds.resources.port80 import acme_cluster
from xds.resources.routes import route_table
from xds.resources.tls import Tls
from xds.settings import Settings

TIMEOUT = 30.0


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


def planned(bootstrap: Path, settings: Settings) -> Config:
    """What an Envoy of this bootstrap file would have with ``settings``. One domain stands for the directory, one name
    for those of the certificate. Raises LintError or SettingsError."""
    try:
        boot = yaml.safe_load(bootstrap.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LintError(f"bootstrap {bootstrap} can't be read: {error}") from None
    if not isinstance(boot, dict):
        raise LintError(f"bootstrap {bootstrap} is no mapping: is it Envoy's?")
    timeout = timedelta(seconds=settings.edge.connect_timeout)
    clusters = [cluster(Pod("pod"), timeout, settings.edge.pods_http2)]
    if settings.edge.acme:
        clusters.append(acme_cluster(*host_and_port(settings.edge.acme), timeout))
    tls = settings.edge.tls
    made = Tls(settings.edge.certificate, ("service.invalid",), tls.unknown_sni, tls.on_demand.enabled, tickets=True)
    edge = edge_of(settings, made)
    static = boot.get("static_resources", {}).get("clusters", [])
    return Config(
        bootstrap=boot,
        listeners=tuple(_json(listener) for listener in listeners(edge, settings.edge.tables)),
        clusters=(*static, *(_json(each) for each in clusters)),
        tables=(_json(route_table(0, {"pod": ["domain.example"]}, asking=edge.asking is not None)),),
    )


def _json(message: betterproto2.Message) -> dict[str, Any]:
    return message.to_dict(casing=betterproto2.Casing.SNAKE)
