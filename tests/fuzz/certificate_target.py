"""What is fuzzed of the edge's certificates: chain, key and OCSP response, from their bytes to a pair or a reason.

Whatever they are, only a CertificateError may come out: one certificate must not end what reads the others.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from random import Random

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from mutate import mutated

from demo.issuer import Issuer, Made, other_key
from xds.certificates.checks import Files, check
from xds.errors import CertificateError

FILES = Files("a.crt", "a.key", "a.ocsp")


@dataclass(frozen=True)
class Input:
    """The three files."""

    chain: bytes
    key: bytes
    staple: bytes


class Certificates:
    """Valid ones to mutate. Making RSA keys takes its time: one of these is enough."""

    def __init__(self) -> None:
        self._ca = Issuer()
        issue = self._ca.issue
        self._made = (
            issue("a.test", "*.b.test", chained=True),
            issue("a.test", chained=True, key=other_key("RSA 2048")),
            issue("a.test", key=other_key("EC P-384")),
            issue("a.test", chained=True, must_staple=True),
        )

    def mutated(self, random: Random) -> Input:
        """One of the files is mutated: mostly as DER, so that it is still PEM and goes deeper."""
        made, other = random.choice(self._made), random.choice(self._made)
        chain, key = [_der(each) for each in (made.certificate, *made.above)], _key(made)
        staple = self._ca.staple(made.certificate)
        kind = random.randrange(6)
        if kind < 3:
            place = random.randrange(len(chain))
            chain[place] = mutated(chain[place], _der(other.certificate), random)
        elif kind == 3:
            key = mutated(key, _key(other), random)
        elif kind == 4:
            staple = mutated(staple, staple, random)
        text = b"".join(_pem("CERTIFICATE", each) for each in chain), _pem("PRIVATE KEY", key)
        if kind == 5:
            return Input(mutated(text[0], text[1], random), text[1], staple)
        return Input(*text, staple)


def taken(given: Input) -> bool:
    """False when it is set aside."""
    try:
        check("a", FILES, given.chain, given.key, given.staple, time.time())
    except CertificateError:
        return False
    return True


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _key(made: Made) -> bytes:
    return made.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _pem(label: str, der: bytes) -> bytes:
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), base64.encodebytes(der), label.encode())
