"""Certificate revocation lists. gRPC's Python API takes none, so a certificate is looked up after its handshake.

A list whose next update is overdue is said to be late and still used: what it revokes stays revoked, and to refuse
every Envoy because a CA is late would take the edge down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from xds.certificates.pem import read_authorities, read_pem
from xds.errors import CertificateError
from xds.server.files import Files
from xds.server.identity import UNREADABLE, Identity

log = structlog.get_logger()

_END = b"-----END X509 CRL-----"
_LOOK = 1.0
"""Seconds between two looks at the files."""


@dataclass(frozen=True, slots=True)
class RevocationList:
    """``issuer`` is the encoded name; ``next_update`` None: the CA doesn't say."""

    path: Path
    issuer: bytes
    serials: frozenset[int]
    next_update: datetime | None


class Revocations:
    """The lists in ``files``, PEM or DER, each signed by a CA of ``client_ca``. Raises CertificateError at first.

    Later, files that changed are read again; when they can't be used, the lists before stay.
    """

    def __init__(
        self,
        files: Sequence[Path],
        client_ca: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._files = tuple(files)
        self._client_ca = client_ca
        self._clock, self._now = clock, now
        self._stamps = Files(*files, client_ca)
        self._stamps.changed()
        self._looked = clock()
        self._late: set[RevocationList] = set()
        self._use(read_lists(self._files, client_ca))

    def revoked(self, identity: Identity) -> bool:
        now = self._clock()
        if now - self._looked >= _LOOK:
            self._looked = now
            self._look()
        return identity.serial in self._serials.get(identity.issuer, frozenset())

    def _look(self) -> None:
        if self._stamps.changed():
            try:
                self._use(read_lists(self._files, self._client_ca))
            except CertificateError as error:
                log.error("xds.crl", reason=str(error), kept="the list before")
            else:
                log.info("xds.crl", revoked=sum(map(len, self._serials.values())))
        self._say_late()

    def _use(self, lists: Sequence[RevocationList]) -> None:
        self._lists = tuple(lists)
        self._serials: dict[bytes, frozenset[int]] = {}
        for each in lists:
            self._serials[each.issuer] = self._serials.get(each.issuer, frozenset()) | each.serials
        self._late.intersection_update(lists)
        self._say_late()

    def _say_late(self) -> None:
        now = self._now()
        for each in self._lists:
            if each.next_update is not None and each.next_update < now and each not in self._late:
                self._late.add(each)
                log.warning("xds.crl_late", file=str(each.path), next_update=each.next_update.isoformat())


def read_lists(files: Sequence[Path], client_ca: Path) -> list[RevocationList]:
    """Raises CertificateError that names the file."""
    authorities = x509.load_pem_x509_certificates(read_authorities(client_ca))
    return [_checked(path, crl, authorities) for path in files for crl in _parsed(path)]


def _parsed(path: Path) -> list[x509.CertificateRevocationList]:
    content = read_pem(path)
    try:
        if b"-----BEGIN" not in content:
            return [x509.load_der_x509_crl(content)]
        blocks = content.split(_END)
        if len(blocks) == 1:
            raise ValueError("no X509 CRL")
        return [x509.load_pem_x509_crl(block + _END) for block in blocks[:-1]]
    except UNREADABLE as error:
        raise CertificateError(f"revocation list {path}: neither PEM nor DER ({error})") from None


def _checked(
    path: Path, crl: x509.CertificateRevocationList, authorities: Sequence[x509.Certificate]
) -> RevocationList:
    try:
        if not any(ca.subject == crl.issuer and _signed(crl, ca) for ca in authorities):
            raise CertificateError(f"revocation list {path}: not signed by a CA of xds.client_ca")
        for extension in crl.extensions:
            # Both change what the entries mean: one lists changes only, the other certificates of other issuers.
            partial = isinstance(extension.value, x509.DeltaCRLIndicator)
            indirect = isinstance(extension.value, x509.IssuingDistributionPoint) and extension.value.indirect_crl
            if partial or indirect:
                raise CertificateError(f"revocation list {path}: a delta or indirect list can't be used")
        serials = frozenset(entry.serial_number for entry in crl)
        return RevocationList(path, crl.issuer.public_bytes(), serials, crl.next_update_utc)
    except UNREADABLE as error:
        raise CertificateError(f"revocation list {path}: {error}") from None


def _signed(crl: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(ca.public_key())  # type: ignore[arg-type]  # a key that can't sign: TypeError
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False
