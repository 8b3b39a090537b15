"""The listeners: https and its HTTP/3 twin, which route by scope, and http, which only redirects to it.

Of tenants nothing stands in a listener but the names that Envoy asks certificates for at its start, which are few: a
listener update drains connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress, SocketAddressProtocol
from envoy_data_plane.envoy.config.core.v3 import QuicProtocolOptions as QuicLimits
from envoy_data_plane.envoy.config.listener.v3 import (
    Filter,
    FilterChain,
    Listener,
    ListenerFilter,
    QuicProtocolOptions,
    UdpListenerConfig,
)
from envoy_data_plane.envoy.extensions.filters.listener.proxy_protocol.v3 import ProxyProtocol
from envoy_data_plane.envoy.extensions.filters.network.connection_limit.v3 import ConnectionLimit
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

from xds.resources.clusters import BUFFER_BYTES
from xds.resources.cold import asking_filters
from xds.resources.hosts import covered_host_filters, host_filters
from xds.resources.local_replies import UnknownHost, access_logs, local_replies
from xds.resources.manager import Timeouts, http2_limits, manager, response_headers, scoped
from xds.resources.packed import packed
from xds.resources.per_address import PerAddress
from xds.resources.port80 import plain_routes
from xds.resources.rescope import FILTER, rescoping_filter
from xds.resources.tls import CUSTOMERS, SERVICE, Tls, filter_chains, listener_filters, quic, quic_names
from xds.slices import Work, drained

HTTPS = "https"
HTTP = "http"
HTTP3 = "http3"

_LIMIT = "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"
_LUA = "envoy.extensions.filters.http.lua.v3.Lua"
_PROXY_PROTOCOL = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"

ALT_SVC_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Edge:
    """Where Envoy listens, and how it meets clients. ``redirect_port`` is the https port as clients see it.

    ``hsts``: the value of that header, or none. ``acme``: the cluster of the ACME client is there. ``misdirected``: a
    request for a host that the connection's certificate isn't for is answered 421. ``asking``: hosts that no table
    holds are asked for, and that may take so long; ``per_address``: how often one client may cause that.
    ``http3_connections``: at a time, at one Envoy.
    """

    address: str = "127.0.0.1"
    https_port: int = 10443
    http_port: int = 10080
    redirect_port: int = 10443
    tls: Tls = field(default_factory=Tls)
    http3: bool = False
    http3_connections: int = 10_000
    proxy_protocol: bool = False
    hsts: str = ""
    acme: bool = False
    misdirected: bool = True
    unknown: UnknownHost = field(default_factory=lambda: UnknownHost(count=False))
    timeouts: Timeouts = field(default_factory=Timeouts)
    pod_header: str = ""
    """A header of the answers that names the pod which gave it, or none."""
    asking: timedelta | None = None
    per_address: PerAddress | None = None
    sample: float = 0.0
    """The share of requests that the control plane is told of."""


def listeners(edge: Edge, tables: int = 1) -> list[Listener]:
    """``tables``: how many route tables there are."""
    return drained(listening(edge, tables))


def listening(edge: Edge, tables: int) -> Work[list[Listener]]:
    """`listeners` in slices: each connection manager takes ten milliseconds or more."""
    plain = manager(
        HTTP,
        edge.timeouts,
        *host_filters(None),
        route_config=plain_routes(edge.redirect_port, edge.acme),
        local_reply_config=local_replies(UnknownHost()),
    )
    yield
    managers = {}
    for chain in (SERVICE, CUSTOMERS) if edge.tls.on_demand else (SERVICE,):
        managers[chain] = [_https(edge, chain, tables)]
        yield
    https = filter_chains(edge.tls, managers.__getitem__)
    yield
    made = [
        _tcp(edge, HTTPS, edge.https_port, https, listener_filters()),
        _tcp(edge, HTTP, edge.http_port, [FilterChain(filters=[plain])]),
    ]
    if edge.http3:
        yield
        made.append(_udp(edge, tables))
    return made


def without_busiest(edge: Edge, https: Listener) -> Listener:
    """The https listener of ``edge`` as it would be if it had no busiest names; its managers aren't made again."""
    managers = {chain.name: chain.filters for chain in https.filter_chains}
    chains = filter_chains(replace(edge.tls, busiest=()), lambda chain: managers.get(chain, []))
    return _tcp(edge, HTTPS, edge.https_port, chains, listener_filters())


def _tcp(edge: Edge, name: str, port: int, chains: list[FilterChain], more: Sequence[ListenerFilter] = ()) -> Listener:
    filters = list(more)
    if edge.proxy_protocol:
        # Before whatever looks at the first bytes of TLS.
        config = packed(_PROXY_PROTOCOL, ProxyProtocol())
        filters.insert(0, ListenerFilter(name="envoy.filters.listener.proxy_protocol", typed_config=config))
    return Listener(
        name=name,
        address=Address(socket_address=SocketAddress(address=edge.address, port_value=port)),
        listener_filters=filters,
        filter_chains=chains,
        per_connection_buffer_limit_bytes=BUFFER_BYTES,
    )


def _udp(edge: Edge, tables: int) -> Listener:
    """HTTP/3, with the service's certificate: on the same port as https."""
    address = SocketAddress(address=edge.address, port_value=edge.https_port, protocol=SocketAddressProtocol.UDP)
    chain = FilterChain(
        filter_chain_match=quic_names(edge.tls),
        filters=[_connection_limit(edge.http3_connections), _https(edge, SERVICE, tables, http3=True)],
        transport_socket=quic(edge.tls),
    )
    return Listener(
        name=HTTP3,
        address=Address(socket_address=address),
        filter_chains=[chain],
        udp_listener_config=UdpListenerConfig(quic_options=QuicProtocolOptions(quic_protocol_options=_quic_limits())),
        per_connection_buffer_limit_bytes=BUFFER_BYTES,
    )


def _connection_limit(most: int) -> Filter:
    """Envoy's limit for the whole process counts TCP alone."""
    made = ConnectionLimit(stat_prefix=HTTP3, max_connections=most)
    return Filter(name="envoy.filters.network.connection_limit", typed_config=packed(_LIMIT, made))


def _quic_limits() -> QuicLimits:
    """Those of HTTP/2: by default, a client may have 24 MiB on the way on each connection."""
    limits = http2_limits()
    return QuicLimits(
        max_concurrent_streams=limits.max_concurrent_streams,
        initial_stream_window_size=limits.initial_stream_window_size,
        initial_connection_window_size=limits.initial_connection_window_size,
    )


def _https(edge: Edge, chain: str, tables: int, *, http3: bool = False) -> Filter:
    """``chain``: the name of the filter chain that it is for."""
    headers = {"strict-transport-security": edge.hsts} if edge.hsts else {}
    if edge.http3 and chain == SERVICE:
        headers["alt-svc"] = f'h3=":{edge.redirect_port}"; ma={ALT_SVC_SECONDS}'
    if edge.pod_header:
        headers[edge.pod_header] = "%UPSTREAM_CLUSTER%"
    return manager(
        HTTPS,
        edge.timeouts,
        *response_headers(headers, ours=["alt-svc", edge.pod_header]),
        *_host_filters(edge, chain),
        # Only the re-scoping table enables it.
        HttpFilter(name=FILTER, typed_config=packed(_LUA, rescoping_filter(tables)), disabled=True),
        *(asking_filters(edge.asking, edge.per_address) if edge.asking else []),
        http3=http3,
        local_reply_config=local_replies(edge.unknown),
        access_log=access_logs(edge.unknown, edge.sample),
        **scoped(),
    )


def _host_filters(edge: Edge, chain: str) -> list[HttpFilter]:
    if edge.misdirected and chain == CUSTOMERS:
        return covered_host_filters()
    return host_filters(edge.tls.server_names if edge.misdirected and edge.tls.server_names else None)
