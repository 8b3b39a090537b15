"""Whether a certificate chain and its key can be shown to clients: bytes in, a pair or the reason out.

What passes here is never rejected by Envoy. Messages name files and what is wrong, never what a file holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from sys import intern

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256

from xds.certificates.pem import parse_certificates, parse_key, same_key
from xds.certificates.staples import check_staple
from xds.errors import CertificateError
from xds.resources.secrets import CertificatePair

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_RSA_BITS = 2048
_HOST = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")

KINDS = "file", "pem", "key", "order", "dates", "names", "type", "staple"
"""What may be wrong with a certificate: `CertificateError.kind`."""


@dataclass(frozen=True, slots=True)
class Files:
    """The paths that messages name."""

    chain: str
    key: str
    staple: str


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What a leaf says of itself. ``names`` are its host names in lower case, ``*.`` first in wildcards; times are
    seconds since 1970; ``key`` is such as "EC P-256"."""

    names: tuple[str, ...]
    not_before: float
    not_after: float
    key: str


@dataclass(frozen=True, slots=True)
class Checked:
    """``staple``: why an OCSP response that is there isn't used; empty when it is, or there is none."""

    pair: CertificatePair
    facts: Facts
    staple: str = ""


def facts_of(where: str, chain: bytes) -> Facts:
    """Of the leaf alone: it says nothing of the key file, nor of the rest of the chain. Raises CertificateError."""
    return _facts(where, parse_certificates(where, chain)[0])


def check_dates(where: str, facts: Facts, now: float) -> None:
    """Raises CertificateError of kind "dates"."""
    if now < facts.not_before:
        raise CertificateError(f"certificate {where}: not valid before {shown(facts.not_before)}", kind="dates")
    if now >= facts.not_after:
        raise CertificateError(f"certificate {where}: expired on {shown(facts.not_after)}", kind="dates")


def check(name: str, files: Files, chain: bytes, key: bytes, staple: bytes | None, now: float) -> Checked:
    """Everything but the leaf's own dates, for which there is `check_dates`. Raises CertificateError."""
    certificates = parse_certificates(files.chain, chain)
    leaf, issuer = certificates[0], certificates[1] if len(certificates) > 1 else None
    facts = _facts(files.chain, leaf)
    private = parse_key(files.key, key)
    if not same_key(private, leaf.public_key()):
        raise CertificateError(f"key {files.key} does not belong to the certificate {files.chain}", kind="key")
    _check_key_works(files.key, private)
    _check_order(files.chain, certificates)
    if issuer is not None and now >= issuer.not_valid_after_utc.timestamp():
        expired = shown(issuer.not_valid_after_utc.timestamp())
        raise CertificateError(f"certificate {files.chain}: its issuer expired on {expired}", kind="dates")
    response, reason = staple, ""
    if staple is not None:
        try:
            check_staple(files.staple, staple, leaf, issuer, now)
        except CertificateError as error:
            response, reason = None, str(error)
    if response is None and _must_staple(leaf):
        raise CertificateError(
            f"certificate {files.chain}: it demands an OCSP response with it: "
            f"{reason or f'there is no {files.staple}'}",
            kind="staple",
        )
    return Checked(CertificatePair(name, chain, key, response), facts, reason)


def shown(seconds: float) -> str:
    """A time as messages and the API show it: ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _facts(where: str, leaf: x509.Certificate) -> Facts:
    try:
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts, addresses = san.get_values_for_type(x509.DNSName), san.get_values_for_type(x509.IPAddress)
    except x509.ExtensionNotFound:
        hosts, addresses = [], []
    except ValueError as error:
        raise CertificateError(f"certificate {where}: its extensions can't be read ({error})", kind="pem") from None
    names = tuple(dict.fromkeys(name for host in hosts if _HOST.fullmatch(name := host.lower())))
    if not names and not addresses:
        raise CertificateError(
            f"certificate {where}: it is for no host name (its subjectAltName holds none)", kind="names"
        )
    try:
        key = _kind(where, leaf.public_key())
    except ValueError as error:
        raise CertificateError(f"certificate {where}: its public key can't be read ({error})", kind="type") from None
    return Facts(names, leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp(), key)


def _kind(where: str, key: PublicKeyTypes) -> str:
    match key:
        case rsa.RSAPublicKey():
            if key.key_size >= _RSA_BITS:
                return intern(f"RSA {key.key_size}")
            found = f"an RSA key of {key.key_size} bits"
        case ec.EllipticCurvePublicKey():
            if key.curve.name in _CURVES:
                return intern(f"EC {_CURVES[key.curve.name]}")
            found = f"a key on the curve {key.curve.name}"
        case _:
            found = f"a key of type {type(key).__name__.removesuffix('PublicKey')}"
    raise CertificateError(
        f"certificate {where}: {found}; clients take RSA from {_RSA_BITS} bits, and EC on P-256, P-384 or P-521",
        kind="type",
    )


def _check_key_works(where: str, private: PrivateKeyTypes) -> None:
    try:
        match private:
            case rsa.RSAPrivateKey():
                signed = private.sign(b"", padding.PKCS1v15(), SHA256())
                private.public_key().verify(signed, b"", padding.PKCS1v15(), SHA256())
            case ec.EllipticCurvePrivateKey():
                private.public_key().verify(private.sign(b"", ec.ECDSA(SHA256())), b"", ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        raise CertificateError(f"key {where}: it is damaged: what it signs can't be verified", kind="key") from None


def _check_order(where: str, certificates: list[x509.Certificate]) -> None:
    for place, (lower, upper) in enumerate(pairwise(certificates), 1):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature):
            raise CertificateError(
                f"certificate {where}: number {place + 1} of the chain didn't sign number {place}; the leaf comes "
                "first, each signed by the next",
                kind="order",
            ) from None


def _must_staple(leaf: x509.Certificate) -> bool:
    try:
        features = leaf.extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return False
    return x509.TLSFeatureType.status_request in features
