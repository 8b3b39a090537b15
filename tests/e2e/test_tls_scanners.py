"""What others' scanners find at the running edge: sslscan and testssl.sh, where they are installed. They look at both
filter chains: by a name of the service's, and by a customer's whose certificate comes on demand.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import ssl
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_harness import Edge, envoy_is, running, until
from tls_harness import shown

from demo.issuer import Issuer, write_flat

HOST = "t0.example.com"
CUSTOMER = "customer.test"
BOTH = [
    HOST,
    pytest.param(
        CUSTOMER,
        marks=pytest.mark.skipif(envoy_is("1.36"), reason="certificates on demand need Envoy 1.37 or newer"),
    ),
]
TESTSSL = shutil.which("testssl") or shutil.which("testssl.sh")

ABOUT_THE_TEST: dict[str, str] = {
    "security_headers": "the headers of answers are the pods' to set",
    "cert_chain_of_trust": "the tests' CA is nobody's: no client trusts it",
    "cert_revocation": "the tests' CA has no revocation list and no OCSP responder",
}
"""Findings above LOW that aren't about the edge, and why."""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    settings: dict[str, dict[str, object]] = {"edge": {"tables": 16}}
    if not envoy_is("1.36"):
        settings["edge.tls.on_demand"] = {"enabled": True}
    with running(tmp_path_factory.mktemp("scanned"), settings, domains=10) as edge:
        edge.put(CUSTOMER, "pod1")
        issuer = Issuer()
        names = {"edge": ("*.example.com", HOST), CUSTOMER: (CUSTOMER, CUSTOMER)}
        for name, (of, host) in names.items():
            made = issuer.issue(of, days=90, chained=True)
            write_flat(edge.system.folder / "certs" / "certificates", name, made)
            if name == "edge" or not envoy_is("1.36"):
                serial = made.certificate.serial_number
                until(lambda: is_shown(edge, host, serial), f"the certificate of {host}")  # noqa: B023 # at once
        yield edge


def is_shown(edge: Edge, host: str, serial: int) -> bool:
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        return shown(edge.system.ports.edge_https, host).serial_number == serial
    return False


@pytest.mark.parametrize("host", BOTH)
@pytest.mark.skipif(shutil.which("sslscan") is None, reason="sslscan is not installed (Debian package sslscan)")
def test_sslscan_finds_only_strong_protocols_and_suites(edge: Edge, host: str) -> None:
    where = f"127.0.0.1:{edge.system.ports.edge_https}"
    command = ["sslscan", "--xml=-", f"--sni-name={host}", where]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    (test,) = ElementTree.fromstring(said).iter("ssltest")
    enabled = [each for each in test.iter("protocol") if each.get("enabled") == "1"]
    spoken = {f"{each.get('type')} {each.get('version')}" for each in enabled}
    assert spoken == {"tls 1.2", "tls 1.3"}
    suites = [(each.get("sslversion"), each.get("cipher") or "", each.get("strength")) for each in test.iter("cipher")]
    assert len(suites) >= 5
    for version, suite, strength in suites:
        assert "GCM" in suite or "CHACHA20" in suite, (version, suite)
        assert version == "TLSv1.3" or suite.startswith("ECDHE-"), suite
        assert strength in ("strong", "acceptable"), suite
    assert all(each.get("vulnerable") == "0" for each in test.iter("heartbleed"))
    assert all(each.get("supported") == "0" for each in test.iter("compression"))


@pytest.mark.parametrize("host", BOTH)
@pytest.mark.timeout(900)  # a minute alone, and longer where other things run
@pytest.mark.skipif(TESTSSL is None, reason="testssl.sh is not installed (Debian package testssl.sh)")
def test_testssl_finds_nothing_above_low(edge: Edge, tmp_path: Path, host: str) -> None:
    found = tmp_path / "found.json"
    command = [str(TESTSSL), "--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1"]
    command += ["--jsonfile", str(found), f"{host}:{edge.system.ports.edge_https}"]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=800, check=False)
    findings = json.loads(found.read_text())
    assert any(each["id"] == "TLS1_3" and each["severity"] == "OK" for each in findings), "it scanned nothing"
    bad = [each for each in findings if each["severity"] in ("MEDIUM", "HIGH", "CRITICAL", "FATAL")]
    assert [f"{each['id']}: {each['finding']}" for each in bad if each["id"].split(" <")[0] not in ABOUT_THE_TEST] == []
