"""PEM files: what is in them, or an error that names the file and never what is in it."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from xds.errors import CertificateError
from xds.resources.secrets import CertificatePair

UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for what it can't make sense of. Not all of these are ValueErrors, and much is parsed only
when it is asked for: a version, a key, the extensions."""


def read_pair(certificate: Path, private: Path) -> CertificatePair:
    """A chain and its key, named after the certificate's file. Raises CertificateError when they can't be used."""
    chain, key = read_pem(certificate), read_pem(private)
    leaf = parse_certificates(str(certificate), chain)[0]
    if not same_key(parse_key(str(private), key), leaf.public_key()):
        raise CertificateError(f"key {private} does not belong to the certificate {certificate}", kind="key")
    return CertificatePair(certificate.stem, chain, key)


def read_authorities(path: Path) -> bytes:
    """One or more CA certificates, PEM. Raises CertificateError when they can't be used."""
    content = read_pem(path)
    parse_certificates(str(path), content)
    return content


def read_pem(path: Path) -> bytes:
    """The bytes of a file; raises CertificateError that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"certificate file {path}: {error.strerror}") from None


def parse_certificates(where: str, content: bytes) -> list[x509.Certificate]:
    """At least one. ``where`` names the file in the error."""
    try:
        return x509.load_pem_x509_certificates(content)
    except UNREADABLE as error:
        raise CertificateError(f"certificate {where}: not PEM ({error})", kind="pem") from None


def parse_key(where: str, content: bytes) -> PrivateKeyTypes:
    """Without the 40 ms that OpenSSL takes to prove an RSA key sound: who uses it, tries it."""
    try:
        return load_pem_private_key(content, password=None, unsafe_skip_rsa_key_validation=True)
    except UNREADABLE as error:
        raise CertificateError(f"key {where}: not a PEM private key without a password ({error})", kind="pem") from None


def same_key(private: PrivateKeyTypes, public: PublicKeyTypes) -> bool:
    return _public(private.public_key()) == _public(public)


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
