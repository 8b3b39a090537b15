"""Who is at the other end of a TLS connection: what its certificate says, as gRPC hands it over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from xds.errors import CertificateError

UNREADABLE = (ValueError, TypeError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What `cryptography` raises for certificates and lists that make no sense."""

Kind = Literal["dns", "uri", "email", "ip", "cn"]


@dataclass(frozen=True, slots=True)
class Name:
    """One name of a certificate. Host names are lower case."""

    kind: Kind
    value: str

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Identity:
    """A client certificate. ``names``: its SANs; without any, its CN. ``issuer``: the encoded name of who signed it.
    ``ends``: seconds since 1970.

    ``serial`` is unique with ``issuer`` only; ``fingerprint`` is the SHA-256 of the certificate.
    """

    names: tuple[Name, ...]
    common_name: str
    issuer: bytes
    serial: int
    fingerprint: str
    ends: float = 0.0

    def __str__(self) -> str:
        return str(self.names[0]) if self.names else f"sha256:{self.fingerprint}"


def identify(auth_context: Mapping[str, Iterable[bytes]]) -> Identity | None:
    """From ``context.auth_context()``; None on plaintext. Raises CertificateError: whoever can't be read is nobody."""
    pem = next(iter(auth_context.get("x509_pem_cert", ())), None)
    return None if pem is None else of_certificate(pem)


@lru_cache(1024)
def of_certificate(pem: bytes) -> Identity:
    """Raises CertificateError."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = tuple(_names(certificate))
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        cn = str(common[0].value) if common else ""
        return Identity(
            names=names or ((Name("cn", cn),) if cn else ()),
            common_name=cn,
            issuer=certificate.issuer.public_bytes(),
            serial=certificate.serial_number,
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            ends=certificate.not_valid_after_utc.timestamp(),
        )
    except UNREADABLE as error:
        raise CertificateError(f"the client's certificate can't be read ({error})") from None


def _names(certificate: x509.Certificate) -> Iterable[Name]:
    try:
        sans = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for san in sans:
        if isinstance(san, x509.DNSName):
            yield Name("dns", san.value.lower())
        elif isinstance(san, x509.UniformResourceIdentifier):
            yield Name("uri", san.value)
        elif isinstance(san, x509.RFC822Name):
            yield Name("email", san.value)
        elif isinstance(san, x509.IPAddress):
            yield Name("ip", str(san.value))
