"""A certificate and its key as a secret, for Envoy's secret discovery (SDS)."""

from __future__ import annotations

from dataclasses import dataclass, field

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret, TlsCertificate


@dataclass(frozen=True, slots=True)
class CertificatePair:
    """``chain`` and ``key`` are PEM, checked to belong together; ``not_after`` is ISO 8601, UTC."""

    name: str
    chain: bytes
    key: bytes = field(repr=False)
    not_after: str = ""


def secret(pair: CertificatePair) -> Secret:
    certificate = TlsCertificate(
        certificate_chain=DataSource(inline_bytes=pair.chain), private_key=DataSource(inline_bytes=pair.key)
    )
    return Secret(name=pair.name, tls_certificate=certificate)
