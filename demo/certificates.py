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

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Pointsman demo CA")
        self.certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(self, folder: Path, file: str, names: Sequence[str], usage: x509.ObjectIdentifier) -> None:
        """Writes ``file``.crt and ``file``.key, valid for ``names``: host names or IP addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(_name(names[0]), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        # The key first: who watches the folder for a new certificate then finds its key.
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(folder / f"{file}.key", pem, 0o600)
        _write(folder / f"{file}.crt", certificate.public_bytes(Encoding.PEM), 0o644)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=30))
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


def _alternative(name: str) -> x509.GeneralName:
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
