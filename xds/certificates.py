"""A folder of certificates: ``NAME.crt`` (PEM, the chain, leaf first) beside ``NAME.key``, checked before use."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from xds.errors import CertificateError
from xds.resources.secrets import CertificatePair


def read_folder(folder: Path) -> tuple[list[CertificatePair], list[CertificateError]]:
    """Every pair that can be used, by name, and why the others can't. Raises CertificateError without a folder."""
    try:
        names = sorted(
            path.stem for path in folder.iterdir() if path.suffix == ".crt" and not path.name.startswith(".")
        )
    except OSError as error:
        raise CertificateError(f"certificates folder {folder}: {error.strerror}") from None
    pairs: list[CertificatePair] = []
    errors: list[CertificateError] = []
    for name in names:
        try:
            pairs.append(read_pair(folder / f"{name}.crt", folder / f"{name}.key"))
        except CertificateError as error:
            errors.append(error)
    return pairs, errors


def read_pair(certificate: Path, private: Path) -> CertificatePair:
    """A chain and its key, named after the certificate's file. Raises CertificateError when they can't be used."""
    chain, key = read_pem(certificate), read_pem(private)
    leaf = _certificates(certificate, chain)[0]
    try:
        public = load_pem_private_key(key, password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"key {private}: not a PEM private key without a password ({error})") from None
    if _public(public) != _public(leaf.public_key()):
        raise CertificateError(f"key {private} does not belong to the certificate {certificate}")
    return CertificatePair(certificate.stem, chain, key, leaf.not_valid_after_utc.isoformat())


def read_authorities(path: Path) -> bytes:
    """One or more CA certificates, PEM. Raises CertificateError when they can't be used."""
    content = read_pem(path)
    _certificates(path, content)
    return content


def read_pem(path: Path) -> bytes:
    """The bytes of a file; raises CertificateError that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"certificate file {path}: {error.strerror}") from None


def _certificates(path: Path, content: bytes) -> list[x509.Certificate]:
    """At least one."""
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise CertificateError(f"certificate {path}: not PEM ({error})") from None


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]
