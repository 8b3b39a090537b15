"""How the edge speaks TLS: the filter chains that a client's SNI chooses from, and their transport sockets.

Certificates come as secrets (SDS); none stands in a listener.
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    TlsParameters,
    TlsParametersTlsProtocol,
)

from xds.resources.packed import ads, packed

_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"

_TLS_1_2_CIPHERS = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
]


def filter_chains(certificate: str, filters: list[Filter]) -> list[FilterChain]:
    """The chains of a TLS listener, each with the same ``filters``. ``certificate`` names the secret that is shown."""
    return [
        FilterChain(
            filters=filters,
            transport_socket=_tls(certificate),
            transport_socket_connect_timeout=timedelta(seconds=15),
        )
    ]


def _tls(certificate: str) -> TransportSocket:
    common = CommonTlsContext(
        tls_params=TlsParameters(
            tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
            tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
            cipher_suites=_TLS_1_2_CIPHERS,
        ),
        tls_certificate_sds_secret_configs=[SdsSecretConfig(name=certificate, sds_config=ads())],
        alpn_protocols=["h2", "http/1.1"],
    )
    context = DownstreamTlsContext(common_tls_context=common)
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(_TLS, context))
