"""The settings of ``edge`` as the builders of listeners take them."""

from __future__ import annotations

from xds.resources.listeners import Edge
from xds.resources.tls import Tls
from xds.settings import Settings


def edge_of(settings: Settings, tls: Tls) -> Edge:
    """Raises SettingsError when the page of unknown hosts can't be read."""
    edge = settings.edge
    return Edge(
        edge.address,
        edge.https_port,
        edge.http_port,
        edge.redirect_port or edge.https_port,
        tls,
        http3=not edge.proxy_protocol if edge.http3 is None else edge.http3,
        proxy_protocol=edge.proxy_protocol,
        hsts=edge.hsts or "",
        acme=edge.acme is not None,
        misdirected=edge.misdirected,
        unknown=edge.unknown_host.made(),
        timeouts=edge.timeouts.made(),
        pod_header=edge.pod_header or "",
    )
