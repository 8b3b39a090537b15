"""A CA in memory, what it signs, and the layouts in which others write that: for tests and benchmarks."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Made:
    """A certificate, its key, and the chain above it."""

    certificate: x509.Certificate
    key: Key
    above: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> bytes:
        return b"".join(each.public_bytes(Encoding.PEM) for each in (self.certificate, *self.above))

    @property
    def private(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Issuer:
    """A CA in memory."""

    def __init__(self, name: str = "tests CA", *, above: Issuer | None = None, days: float = 365) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer, issuer = (above.key, above.name) if above else (self.key, self.name)
        self.certificate = (
            _builder(self.name, issuer, self.key, days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer, hashes.SHA256())
        )

    def issue(
        self,
        *names: str,
        days: float = 30,
        starts: float = -1,
        key: Key | None = None,
        chained: bool = False,
        must_staple: bool = False,
        more: Iterable[x509.ExtensionType] = (),
    ) -> Made:
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "nobody")])
        builder = _builder(subject, self.name, key, days, starts)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False)
        if must_staple:
            builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
        for extension in more:
            builder = builder.add_extension(extension, critical=True)
        made = builder.sign(self.key, hashes.SHA256())
        return Made(made, key, (self.certificate,) if chained else ())

    def staple(
        self,
        certificate: x509.Certificate,
        *,
        starts: float = -1,
        days: float = 7,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        issuer: Issuer | None = None,
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        revoked = status is ocsp.OCSPCertStatus.REVOKED
        builder = ocsp.OCSPResponseBuilder().add_response(
            certificate,
            (issuer or self).certificate,
            hashes.SHA1(),  # what OCSP names certificates by, RFC 5019
            status,
            now + datetime.timedelta(days=starts),
            now + datetime.timedelta(days=days),
            now if revoked else None,
            x509.ReasonFlags.key_compromise if revoked else None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self.certificate)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)


def write_flat(folder: Path, name: str, made: Made, staple: bytes | None = None) -> None:
    """As `NAME.crt` and `NAME.key`, each replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    if staple is not None:
        replace(folder / f"{name}.ocsp", staple)
    replace(folder / f"{name}.key", made.private, 0o600)
    replace(folder / f"{name}.crt", made.chain)


def write_certbot(folder: Path, name: str, made: Made, version: int = 1) -> None:
    """As certbot: numbered files in archive/, links to them in live/."""
    archive, live = folder / "archive" / name, folder / "live" / name
    archive.mkdir(parents=True, exist_ok=True)
    live.mkdir(parents=True, exist_ok=True)
    for stem, content in (("privkey", made.private), ("fullchain", made.chain)):
        replace(archive / f"{stem}{version}.pem", content, 0o600)
        link = live / f"{stem}.pem"
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..") / ".." / "archive" / name / f"{stem}{version}.pem")


def write_mounted(folder: Path, name: str, made: Made, version: int = 1) -> None:
    """As Kubernetes mounts a secret of cert-manager: all files change at once, by the link ``..data``."""
    mount = folder / name
    data = mount / f"..2026_{version}"
    data.mkdir(parents=True)
    replace(data / "tls.key", made.private, 0o600)
    replace(data / "tls.crt", made.chain)
    fresh = mount / "..data_tmp"
    fresh.symlink_to(data.name)
    os.replace(fresh, mount / "..data")
    for file in ("tls.crt", "tls.key"):
        if not (mount / file).is_symlink():
            (mount / file).symlink_to(Path("..data") / file)


def replace(path: Path, content: bytes, mode: int = 0o644) -> None:
    made = path.with_name(f".{path.name}.new")
    made.touch(mode=mode)
    made.write_bytes(content)
    made.chmod(mode)
    os.replace(made, path)


def other_key(kind: str) -> Key:
    """``kind``: such as "RSA 2048", "EC P-384", "EC secp256k1" or "Ed25519"."""
    curves: dict[str, type[ec.EllipticCurve]] = {
        "P-256": ec.SECP256R1,
        "P-384": ec.SECP384R1,
        "P-521": ec.SECP521R1,
        "secp256k1": ec.SECP256K1,
    }
    algorithm, _, size = kind.partition(" ")
    match algorithm:
        case "RSA":
            return rsa.generate_private_key(65537, int(size))
        case "EC":
            return ec.generate_private_key(curves[size]())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, days: float, starts: float = -1
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=min(starts, days - 1)))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
