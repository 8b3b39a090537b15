"""How the edge speaks TLS: the filter chains that a client's SNI chooses from, and their transport sockets.

The service's own names are in a chain of their own, with one certificate, session tickets and resumption. All other
names, customers' own domains, are in a second one, where Envoy asks for the certificate by SNI when a client comes.
Certificates come as secrets (SDS). A listener update drains connections: of customers' names only those stand there
that Envoy asks for at its start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from envoy_data_plane.envoy.config.core.v3 import (
    ApiConfigSource,
    ApiConfigSourceApiType,
    ApiVersion,
    BackoffStrategy,
    ConfigSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    RetryPolicy,
    TransportSocket,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, FilterChainMatch, ListenerFilter
from envoy_data_plane.envoy.extensions.filters.listener.tls_inspector.v3 import TlsInspector
from envoy_data_plane.envoy.extensions.transport_sockets.quic.v3 import QuicDownstreamTransport
from envoy_data_plane.envoy.extensions.transport_sockets.tls.cert_mappers.sni.v3 import Sni
from envoy_data_plane.envoy.extensions.transport_sockets.tls.cert_selectors.on_demand_secret.v3 import Config
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    TlsParameters,
    TlsParametersTlsProtocol,
)

from xds.resources.packed import ads, packed

SERVICE = "service"
"""The filter chain of the service's own names; of all names, as long as no others have certificates."""
CUSTOMERS = "customers"
"""The filter chain of all other names: which certificate is shown isn't known before the handshake."""

TICKETS = "#session-tickets"
"""The secret that holds the keys of session tickets; no host is called so."""
NOBODY = "#nobody"
"""The secret asked for by a client without SNI where such clients are refused; there is none by that name."""

NO_NAME = "nobody.invalid"
"""Stands for the service's names where its certificate has none: without any, a filter chain matches all."""

CONTROL_PLANE = "pointsman:xds"
"""The control plane's cluster in Envoy's bootstrap."""

_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_QUIC = "envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport"
_INSPECTOR = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
_SNI = "envoy.extensions.transport_sockets.tls.cert_mappers.sni.v3.SNI"
_ON_DEMAND = "envoy.extensions.transport_sockets.tls.cert_selectors.on_demand_secret.v3.Config"

_TLS_1_2_CIPHERS = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
]


@dataclass(frozen=True, slots=True)
class Tls:
    """``certificate`` names the service's secret, ``server_names`` are the host names that it is for: exact, or with a
    leading ``*.``. ``unknown``: what a client meets whose SNI is no name that has a certificate. ``on_demand``: other
    names than those may have certificates, too. ``prefetch``: of those, the names that Envoy asks for at its start.
    ``busiest``: more such names, for Envoys that start from now on. Others aren't told: it would drain connections.
    ``tickets``: the keys of session tickets come as a secret; a session lives for ``session`` at most."""

    certificate: str = "edge"
    server_names: tuple[str, ...] = ()
    unknown: Literal["default", "refuse"] = "default"
    on_demand: bool = False
    prefetch: tuple[str, ...] = ()
    busiest: tuple[str, ...] = ()
    tickets: bool = False
    session: timedelta = timedelta(hours=8)
    handshake_timeout: timedelta = timedelta(seconds=15)


def filter_chains(tls: Tls, filters: Callable[[str], list[Filter]]) -> list[FilterChain]:
    """The chains of the TLS listener. ``filters`` makes those of one chain, by its name."""
    alone = not tls.on_demand and tls.unknown == "default"
    service = FilterChain(
        name=SERVICE,
        filter_chain_match=None if alone else FilterChainMatch(server_names=list(tls.server_names) or [NO_NAME]),
        filters=filters(SERVICE),
        transport_socket=_socket(_service(tls, ["h2", "http/1.1"])),
        transport_socket_connect_timeout=tls.handshake_timeout,
    )
    if not tls.on_demand:
        return [service]
    customers = FilterChain(
        name=CUSTOMERS,
        filters=filters(CUSTOMERS),
        transport_socket=_socket(_customers(tls)),
        # Without it a handshake whose certificate doesn't come hangs for ever.
        transport_socket_connect_timeout=tls.handshake_timeout,
    )
    return [service, customers] if tls.server_names else [customers]


def listener_filters() -> list[ListenerFilter]:
    """What reads the SNI, for the choice of the filter chain and for ``%REQUESTED_SERVER_NAME%``."""
    return [
        ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=packed(_INSPECTOR, TlsInspector()))
    ]


def quic_names(tls: Tls) -> FilterChainMatch | None:
    """Whose handshake is taken over QUIC; None for everybody's."""
    return FilterChainMatch(server_names=list(tls.server_names) or [NO_NAME]) if tls.unknown == "refuse" else None


def quic(tls: Tls) -> TransportSocket:
    """For HTTP/3, with the service's certificate. No certificate comes on demand there: Envoy can't."""
    transport = QuicDownstreamTransport(
        downstream_tls_context=_service(tls, ["h3"]),
        # A request in early data may be replayed.
        enable_early_data=False,
    )
    return TransportSocket(name="envoy.transport_sockets.quic", typed_config=packed(_QUIC, transport))


def covered(host: str, names: Iterable[str]) -> bool:
    """Whether a certificate for ``names`` is good for ``host`` (RFC 9525, 6.3: ``*`` stands for one label)."""
    return any(name in (host, "*." + host.partition(".")[2]) for name in names)


def _service(tls: Tls, alpn: list[str]) -> DownstreamTlsContext:
    common = _common(alpn)
    common.tls_certificate_sds_secret_configs = [SdsSecretConfig(name=tls.certificate, sds_config=ads())]
    context = DownstreamTlsContext(common_tls_context=common)
    if tls.tickets:
        context.session_ticket_keys_sds_secret_config = SdsSecretConfig(name=TICKETS, sds_config=ads())
        context.session_timeout = tls.session
    return context


def _customers(tls: Tls) -> DownstreamTlsContext:
    """Envoy allows no resumption there: a resumed session has no certificate chosen."""
    common = _common(["h2", "http/1.1"])
    mapper = Sni(default_value=tls.certificate if tls.unknown == "default" else NOBODY)
    selector = Config(
        config_source=_own_stream(tls.handshake_timeout),
        certificate_mapper=TypedExtensionConfig(name="sni", typed_config=packed(_SNI, mapper)),
        prefetch_secret_names=[*tls.prefetch, *tls.busiest],
    )
    common.custom_tls_certificate_selector = TypedExtensionConfig(
        name="envoy.tls.certificate_selectors.on_demand_secret", typed_config=packed(_ON_DEMAND, selector)
    )
    return DownstreamTlsContext(
        common_tls_context=common,
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )


def _common(alpn: list[str]) -> CommonTlsContext:
    return CommonTlsContext(
        tls_params=TlsParameters(
            tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
            tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
            cipher_suites=_TLS_1_2_CIPHERS,
        ),
        alpn_protocols=alpn,
    )


def _socket(context: DownstreamTlsContext) -> TransportSocket:
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(_TLS, context))


def _own_stream(timeout: timedelta) -> ConfigSource:
    """Not the aggregated stream: a name that is asked for there twice, on demand and otherwise, isn't asked for again,
    and state of the world can't withdraw a single name."""
    back_off = BackoffStrategy(base_interval=timedelta(milliseconds=100), max_interval=timedelta(seconds=2))
    envoy = GrpcServiceEnvoyGrpc(cluster_name=CONTROL_PLANE, retry_policy=RetryPolicy(retry_back_off=back_off))
    source = ApiConfigSource(
        api_type=ApiConfigSourceApiType.DELTA_GRPC,
        transport_api_version=ApiVersion.V3,
        grpc_services=[GrpcService(envoy_grpc=envoy)],
        set_node_on_first_message_only=True,
    )
    return ConfigSource(api_config_source=source, resource_api_version=ApiVersion.V3, initial_fetch_timeout=timeout)
