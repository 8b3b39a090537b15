"""Whether a certificate chain and its key can be shown to clients: bytes in, a pair or the reason out.

What passes here Envoy takes, as far as tests of many kinds of certificates show (`tests/e2e/test_tls_kinds.py`).
Messages name files and what is wrong, never what a file holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from sys import intern
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from xds.certificates.pem import UNREADABLE, parse_certificates, parse_key, same_key
from xds.certificates.staples import check_staple
from xds.errors import CertificateError
from xds.resources.secrets import CertificatePair

E = TypeVar("E", bound=x509.ExtensionType)

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_RSA_BITS = 2048
_FOR_SERVERS = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_HOST = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")

KINDS = "file", "pem", "key", "order", "dates", "names", "type", "use", "staple", "envoy"
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
    """``staple``: why an OCSP response that is there isn't used; empty when it is, or there is none. ``staple_ends``:
    when the one that is used does, in seconds since 1970; 0 for none."""

    pair: CertificatePair
    facts: Facts
    staple: str = ""
    staple_ends: float = 0.0


def facts_of(where: str, chain: bytes) -> Facts:
    """Of the leaf alone: it says nothing of the key file, nor of the rest of the chain. Raises CertificateError."""
    return _facts(where, parse_certificates(where, chain)[0])


def check_dates(where: str, facts: Facts, now: float) -> None:
    """Raises CertificateError of kind "dates"."""
    if now < facts.not_before:
        raise CertificateError(f"certificate {where}: not valid before {shown(facts.not_before)}", kind="dates")
    if now >= facts.not_after:
        raise expired(where, facts)


def expired(where: str, facts: Facts) -> CertificateError:
    return CertificateError(f"certificate {where}: expired on {shown(facts.not_after)}", kind="dates")


def check(name: str, files: Files, chain: bytes, key: bytes, staple: bytes | None, now: float) -> Checked:
    """Everything but the leaf's own dates, for which there is `check_dates`. Raises CertificateError."""
    certificates = parse_certificates(files.chain, chain)
    leaf, issuer = certificates[0], certificates[1] if len(certificates) > 1 else None
    facts = _facts(files.chain, leaf)
    _check_form(files.chain, leaf)
    _check_use(files.chain, leaf)
    private = parse_key(files.key, key)
    if not same_key(private, leaf.public_key()):
        raise CertificateError(f"key {files.key} does not belong to the certificate {files.chain}", kind="key")
    _check_key_works(files.key, private)
    _check_order(files.chain, certificates)
    if issuer is not None and now >= issuer.not_valid_after_utc.timestamp():
        expired = shown(issuer.not_valid_after_utc.timestamp())
        raise CertificateError(f"certificate {files.chain}: its issuer expired on {expired}", kind="dates")
    response, reason, ends = staple, "", 0.0
    if staple is not None:
        try:
            ends = check_staple(files.staple, staple, leaf, issuer, now)
        except CertificateError as error:
            response, reason = None, str(error)
    if response is None and _must_staple(files.chain, leaf):
        raise CertificateError(
            f"certificate {files.chain}: it demands an OCSP response with it: "
            f"{reason or f'there is no {files.staple}'}",
            kind="staple",
        )
    # Written anew: Envoy reads PEM otherwise than we do (a byte order mark, half a certificate at the end), and is to
    # get what was checked.
    return Checked(CertificatePair(name, _pem(certificates), _key_pem(private), response), facts, reason, ends)


def shown(seconds: float) -> str:
    """A time as messages and the API show it: ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _facts(where: str, leaf: x509.Certificate) -> Facts:
    san = _extension(where, leaf, x509.SubjectAlternativeName)
    hosts = san.get_values_for_type(x509.DNSName) if san else []
    addresses = san.get_values_for_type(x509.IPAddress) if san else []
    names = tuple(dict.fromkeys(name for host in hosts if _HOST.fullmatch(name := host.lower())))
    if not names and not addresses:
        raise CertificateError(
            f"certificate {where}: it is for no host name (its subjectAltName holds none)", kind="names"
        )
    try:
        key = _kind(where, leaf.public_key())
    except UNREADABLE as error:
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


def _pem(certificates: list[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def _key_pem(private: PrivateKeyTypes) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _check_form(where: str, leaf: x509.Certificate) -> None:
    """The key must be written down as everybody does. Envoy takes no RSA key that is for PSS alone, and no curve that
    is spelled out instead of named."""
    plain = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if plain not in leaf.tbs_certificate_bytes:
        raise CertificateError(
            f"certificate {where}: its public key is written in an unusual form, as RSA for PSS alone or as a curve "
            "with explicit parameters; have it issued for a plain RSA key or a named curve",
            kind="type",
        )


def _check_use(where: str, leaf: x509.Certificate) -> None:
    """What an extension doesn't allow, Envoy (of EC) or clients don't take."""
    usage = _extension(where, leaf, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise CertificateError(
            f"certificate {where}: its keyUsage has no digitalSignature, which all key exchanges here need", kind="use"
        )
    uses = _extension(where, leaf, x509.ExtendedKeyUsage)
    if uses is not None and not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(
        uses
    ):
        raise CertificateError(f"certificate {where}: its extendedKeyUsage has no serverAuth", kind="use")


def _check_key_works(where: str, private: PrivateKeyTypes) -> None:
    try:
        match private:
            case rsa.RSAPrivateKey():
                _check_numbers(private.private_numbers())
                signed = private.sign(b"", padding.PKCS1v15(), SHA256())
                private.public_key().verify(signed, b"", padding.PKCS1v15(), SHA256())
            case ec.EllipticCurvePrivateKey():
                private.public_key().verify(private.sign(b"", ec.ECDSA(SHA256())), b"", ec.ECDSA(SHA256()))
    except (InvalidSignature, *UNREADABLE):
        raise CertificateError(f"key {where}: it is damaged: what it signs can't be verified", kind="key") from None


def _check_numbers(key: rsa.RSAPrivateNumbers) -> None:
    """Envoy takes no key of which one number doesn't fit the others, though it may sign well. Raises ValueError."""
    p, q, d, e = key.p, key.q, key.d, key.public_numbers.e
    fits = p * q == key.public_numbers.n and d * e % (p - 1) == 1 and d * e % (q - 1) == 1
    if not (fits and key.dmp1 == d % (p - 1) and key.dmq1 == d % (q - 1) and key.iqmp * q % p == 1):
        raise ValueError("its numbers don't fit each other")


def _check_order(where: str, certificates: list[x509.Certificate]) -> None:
    for place, (lower, upper) in enumerate(pairwise(certificates), 1):
        try:
            lower.verify_directly_issued_by(upper)
        except (InvalidSignature, *UNREADABLE):
            raise CertificateError(
                f"certificate {where}: number {place + 1} of the chain didn't sign number {place}; the leaf comes "
                "first, each signed by the next",
                kind="order",
            ) from None


def _must_staple(where: str, leaf: x509.Certificate) -> bool:
    features = _extension(where, leaf, x509.TLSFeature)
    return features is not None and x509.TLSFeatureType.status_request in features


def _extension(where: str, leaf: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return leaf.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except UNREADABLE as error:
        raise CertificateError(f"certificate {where}: its extensions can't be read ({error})", kind="pem") from None
