"""Revocation lists: which are believed, and what happens when their files change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs

from demo.certificates import Authority
from xds.errors import CertificateError
from xds.server.identity import Identity, of_certificate
from xds.server.revocation import Revocations


class Ca:
    """An authority, its certificate as a file, and a revocation list."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.authority = Authority(name)
        self.folder = folder
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(self.authority.certificate.public_bytes(Encoding.PEM))
        self.crl = folder / f"{name}.crl"
        self.now = 0.0
        self.today = datetime.now(UTC)

    def client(self, name: str) -> Identity:
        made = self.authority.issue(self.folder, name, (name,), ExtendedKeyUsageOID.CLIENT_AUTH)
        return of_certificate(made.public_bytes(Encoding.PEM))

    def revocations(self, *more: Path, client_ca: Path | None = None) -> Revocations:
        files = (self.crl, *more)
        return Revocations(files, client_ca or self.file, clock=lambda: self.now, now=lambda: self.today)


@pytest.fixture
def ca(tmp_path: Path) -> Ca:
    return Ca(tmp_path)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_who_is_on_a_list_is_revoked(ca: Ca, encoding: Encoding) -> None:
    bad, good = ca.client("bad"), ca.client("good")
    ca.authority.revoke(ca.crl, bad.serial, encoding=encoding)
    lists = ca.revocations()
    assert lists.revoked(bad)
    assert not lists.revoked(good)


def test_the_same_serial_number_of_another_ca_is_not_revoked(ca: Ca, tmp_path: Path) -> None:
    bad = ca.client("bad")
    other = Ca(tmp_path, "other").client("good")
    ca.authority.revoke(ca.crl, bad.serial, other.serial)
    assert not ca.revocations().revoked(other)


def test_lists_of_several_cas_in_several_files_and_in_one(ca: Ca, tmp_path: Path) -> None:
    other = Ca(tmp_path, "other")
    bad, worse, worst = ca.client("bad"), other.client("worse"), other.client("worst")
    other.authority.revoke(other.crl, worse.serial)
    content = other.crl.read_bytes()
    ca.authority.revoke(ca.crl, bad.serial)
    ca.crl.write_bytes(ca.crl.read_bytes() + content)
    other.authority.revoke(other.crl, worst.serial)
    both = tmp_path / "both.crt"
    both.write_bytes(ca.file.read_bytes() + other.file.read_bytes())
    lists = ca.revocations(other.crl, client_ca=both)
    assert all(lists.revoked(each) for each in (bad, worse, worst))


def test_a_list_that_a_foreign_ca_signed_is_refused(ca: Ca, tmp_path: Path) -> None:
    Authority("ca").revoke(ca.crl, 1)  # the same name, another key
    with pytest.raises(CertificateError, match=r"ca\.crl: not signed by a CA of xds\.client_ca"):
        ca.revocations()


@pytest.mark.parametrize(
    "content", [None, b"", b"nonsense", b"-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----\n"]
)
def test_a_list_that_cannot_be_read_is_refused_at_the_start(ca: Ca, content: bytes | None) -> None:
    if content is not None:
        ca.crl.write_bytes(content)
    with pytest.raises(CertificateError, match=r"ca\.crl"):
        ca.revocations()


def test_a_certificate_in_place_of_a_list_is_refused(ca: Ca) -> None:
    ca.crl.write_bytes(ca.file.read_bytes())
    with pytest.raises(CertificateError, match="neither PEM nor DER"):
        ca.revocations()


def test_a_late_list_is_said_to_be_late_once_and_still_used(ca: Ca) -> None:
    bad = ca.client("bad")
    ca.authority.revoke(ca.crl, bad.serial, days=-1)
    with capture_logs() as logs:
        lists = ca.revocations()
        for ca.now in (2.0, 4.0, 6.0):
            assert lists.revoked(bad)
    assert [each["event"] for each in logs] == ["xds.crl_late"]
    assert logs[0]["file"] == str(ca.crl)


def test_a_list_that_becomes_late_while_in_use_is_said_to_be(ca: Ca) -> None:
    ca.authority.revoke(ca.crl, days=1)
    with capture_logs() as logs:
        lists = ca.revocations()
        assert logs == []
        ca.today += timedelta(days=2)
        ca.now = 2.0
        lists.revoked(ca.client("good"))
    assert [each["event"] for each in logs] == ["xds.crl_late"]


def test_a_new_list_is_used_after_a_second_without_a_restart(ca: Ca) -> None:
    bad = ca.client("bad")
    ca.authority.revoke(ca.crl)
    lists = ca.revocations()
    assert not lists.revoked(bad)
    ca.authority.revoke(ca.crl, bad.serial)
    ca.now = 0.5
    assert not lists.revoked(bad)
    ca.now = 1.0
    assert lists.revoked(bad)


@pytest.mark.parametrize("content", [None, b"nonsense", "foreign"])
def test_a_new_list_that_cannot_be_used_leaves_the_one_before_and_is_logged_once(
    ca: Ca, content: bytes | str | None
) -> None:
    bad = ca.client("bad")
    ca.authority.revoke(ca.crl, bad.serial)
    lists = ca.revocations()
    if content is None:
        ca.crl.unlink()
    elif isinstance(content, bytes):
        ca.crl.write_bytes(content)
    else:
        Authority("ca").revoke(ca.crl)
    with capture_logs() as logs:
        for ca.now in (2.0, 4.0, 6.0):
            assert lists.revoked(bad)
    assert [(each["event"], each["kept"]) for each in logs] == [("xds.crl", "the list before")]
    ca.authority.revoke(ca.crl)
    ca.now = 8.0
    assert not lists.revoked(bad)
