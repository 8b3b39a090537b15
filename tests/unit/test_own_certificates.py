"""When the control plane's own certificates end, and its Envoys'."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from demo.certificates import Authority
from xds.http.proxies import SOONEST, proxy_metrics
from xds.own_certificates import OwnCertificates
from xds.server.streams import NodeState

SERVER = ExtendedKeyUsageOID.SERVER_AUTH


def test_a_certificate_that_is_renewed_ends_later(tmp_path: Path) -> None:
    old = Authority().issue(tmp_path, "xds", ["pointsman"], SERVER, days=3)
    own = OwnCertificates({"xds.certificate": tmp_path / "xds.crt"}, {})
    assert own.ends() == {"xds.certificate": old.not_valid_after_utc.timestamp()}
    new = Authority().issue(tmp_path, "xds", ["pointsman"], SERVER, days=90)
    assert own.ends() == {"xds.certificate": new.not_valid_after_utc.timestamp()}


def test_a_file_that_cannot_be_used_says_what_is_in_use(tmp_path: Path) -> None:
    old = Authority().issue(tmp_path, "xds", ["pointsman"], SERVER, days=3)
    own = OwnCertificates({"xds.certificate": tmp_path / "xds.crt"}, {"xds.client_ca": tmp_path / "none.crt"})
    own.ends()
    (tmp_path / "xds.crt").write_text("nonsense")
    assert own.ends() == {"xds.certificate": old.not_valid_after_utc.timestamp()}


def test_of_a_chain_the_first_end_counts_and_of_several_authorities_the_last(tmp_path: Path) -> None:
    authority = Authority()
    found = [authority.issue(tmp_path, f"c{days}", ["pointsman"], SERVER, days=days) for days in (40, 2)]
    (tmp_path / "all.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in found))
    own = OwnCertificates({"xds.certificate": tmp_path / "all.pem"}, {"xds.client_ca": tmp_path / "all.pem"})
    late, soon = (one.not_valid_after_utc.timestamp() for one in found)
    assert own.ends() == {"xds.certificate": soon, "xds.client_ca": late}


def test_of_a_thousand_envoys_those_are_told_whose_certificates_end_first() -> None:
    streams = [
        NodeState(f"edge-{number}", "edge", "envoy 1.40.0", "", "", "delta", 1.0, [], certificate_ends=2e9 - number)
        for number in range(1_000)
    ]
    (family,) = [
        one for one in proxy_metrics(streams) if one.name == "pointsman_xds_certificate_expiration_timestamp_seconds"
    ]
    assert len(family.samples) == SOONEST
    assert family.samples[0].labels == {"node": "edge-999"}
    assert family.samples[0].value == 2e9 - 999
