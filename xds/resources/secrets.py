"""What Envoy is told in secret (SDS): certificates with their keys, and the keys of session tickets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret, TlsCertificate, TlsSessionTicketKeys


@dataclass(frozen=True, slots=True)
class CertificatePair:
    """``chain`` and ``key`` are PEM, checked to belong together; ``staple`` is an OCSP response, DER."""

    name: str
    chain: bytes
    key: bytes = field(repr=False)
    staple: bytes | None = field(default=None, repr=False)


def secret(pair: CertificatePair, name: str = "") -> Secret:
    """``name``: what it is asked for by, if not by the pair's own name."""
    certificate = TlsCertificate(certificate_chain=_inline(pair.chain), private_key=_inline(pair.key))
    if pair.staple is not None:
        certificate.ocsp_staple = _inline(pair.staple)
    return Secret(name=name or pair.name, tls_certificate=certificate)


def ticket_secret(name: str, keys: Sequence[bytes]) -> Secret:
    """``keys``: 80 bytes each; new tickets are made with the first."""
    return Secret(name=name, session_ticket_keys=TlsSessionTicketKeys(keys=[_inline(key) for key in keys]))


def _inline(content: bytes) -> DataSource:
    return DataSource(inline_bytes=content)
