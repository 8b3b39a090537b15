"""A local CA and what it signs: the edge's certificate, and both sides of the xDS connection's mTLS.

``python -m demo.certificates FOLDER`` writes ca.crt and, each with its key, xds-server.crt, envoy.crt and
certificates/edge.crt. For trying things out only: the CA's own key is thrown away.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

EDGE_NAMES = ("*.example.com", "example.com", "*.acme.test", "acme.test", "localhost")


class Authority:
    """A CA that lives as long as this object."""

    def __init__(self, name: str = "Pointsman demo CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(
        self,
        folder: Path,
        file: str,
        names: Sequence[str],
        usage: x509.ObjectIdentifier,
        *,
        common_name: str = "",
        days: float = 30,
    ) -> x509.Certificate:
        """Writes ``file``.crt and ``file``.key, valid for ``names``: host names, IP addresses or URIs.

        Its CN is ``common_name`` or else the first name. It is valid since an hour ago, or, for one that has expired
        (``days`` below zero), since an hour before its end.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_name(common_name or names[0]), key.public_key(), days)
        if names:
            alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        # The key first: who watches the folder for a new certificate then finds its key.
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(folder / f"{file}.key", pem, 0o600)
        _write(folder / f"{file}.crt", certificate.public_bytes(Encoding.PEM), 0o644)
        return certificate

    def revoke(
        self, path: Path, *serials: int, days: float = 7, encoding: Encoding = Encoding.PEM
    ) -> x509.CertificateRevocationList:
        """Writes a revocation list of certificates' serial numbers; its next update is in so many ``days``."""
        now = datetime.datetime.now(datetime.UTC)
        until = now + datetime.timedelta(days=days)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(min(now, until) - datetime.timedelta(hours=1))
            .next_update(until)
        )
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(entry)
        crl = builder.sign(self._key, hashes.SHA256())
        _write(path, crl.public_bytes(encoding), 0o644)
        return crl

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: float = 30) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        until = now + datetime.timedelta(days=days)
        # Strict clients ask for both identifiers (RFC 5280, sections 4.2.1.1 and 4.2.1.2), Python 3.13's among them.
        ours = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(ours, critical=False)
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, until) - datetime.timedelta(hours=1))
            .not_valid_after(until)
        )


def write_all(folder: Path) -> None:
    """Everything that the demo needs, into ``folder``."""
    authority = Authority()
    edge = folder / "certificates"
    edge.mkdir(parents=True, exist_ok=True)
    _write(folder / "ca.crt", authority.certificate.public_bytes(Encoding.PEM), 0o644)
    authority.issue(folder, "xds-server", ("pointsman", "localhost", "127.0.0.1"), ExtendedKeyUsageOID.SERVER_AUTH)
    authority.issue(folder, "envoy", ("edge-1",), ExtendedKeyUsageOID.CLIENT_AUTH)
    authority.issue(edge, "edge", EDGE_NAMES, ExtendedKeyUsageOID.SERVER_AUTH)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(**uses: bool) -> x509.KeyUsage:
    """Only what is named."""
    every = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"]
    every += ["key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{use: uses.get(use, False) for use in every})


def _alternative(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, content: bytes, mode: int) -> None:
    made = path.with_name(f".{path.name}.new")
    made.touch(mode=mode)
    made.write_bytes(content)
    os.replace(made, path)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
