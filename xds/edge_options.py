"""The settings of ``edge`` as the builders of listeners take them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from xds.edge_settings import Timeouts, UnknownHost
from xds.errors import SettingsError
from xds.lookup.settings import Lookup
from xds.resources.listeners import Edge
from xds.resources.local_replies import UnknownHost as UnknownHostOptions
from xds.resources.manager import Timeouts as TimeoutOptions
from xds.resources.per_address import PerAddress
from xds.resources.tls import Tls
from xds.settings import Settings

PAGE_BYTES = 64 * 1024


def edge_of(settings: Settings, tls: Tls) -> Edge:
    """Raises SettingsError when the page of unknown hosts can't be read."""
    edge = settings.edge
    asking = settings.gds.mode == "lookup"
    return Edge(
        edge.address,
        edge.https_port,
        edge.http_port,
        edge.redirect_port or edge.https_port,
        tls,
        http3=not edge.proxy_protocol if edge.http3 is None else edge.http3,
        http3_connections=edge.http3_connections,
        proxy_protocol=edge.proxy_protocol,
        hsts=edge.hsts or "",
        acme=edge.acme is not None,
        misdirected=edge.misdirected,
        unknown=_unknown_host(edge.unknown_host, asking),
        timeouts=_timeouts(edge.timeouts),
        pod_header=edge.pod_header or "",
        # Ours is over first: then it is said why.
        sample=settings.lookup.sample if asking else 0.0,
        asking=timedelta(seconds=settings.lookup.patience + 1) if asking else None,
        per_address=_per_address(settings.lookup) if asking else None,
    )


def _per_address(lookup: Lookup) -> PerAddress | None:
    return PerAddress(lookup.address_rate, lookup.address_burst) if lookup.address_rate else None


def _timeouts(given: Timeouts) -> TimeoutOptions:
    return TimeoutOptions(
        connection_idle=timedelta(seconds=given.connection_idle),
        stream_idle=timedelta(seconds=given.stream_idle),
        request_headers=timedelta(seconds=given.request_headers),
        request=timedelta(seconds=given.request),
    )


def _unknown_host(given: UnknownHost, asked: bool) -> UnknownHostOptions:
    return UnknownHostOptions(_page(given.page) if given.page else "", given.redirect or "", given.count, asked)


def _page(path: Path) -> str:
    try:
        with path.open("rb") as file:
            body = file.read(PAGE_BYTES + 1)
        if len(body) > PAGE_BYTES:
            raise SettingsError(f"page {path} is larger than {PAGE_BYTES:,} bytes (settings edge.unknown_host.page)")
        return body.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise SettingsError(f"page {path}: {why} (settings edge.unknown_host.page)") from None
