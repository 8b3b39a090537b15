"""The service's own certificate at real Envoys: renewal under load, resumption across a fleet, staple, unknown SNI."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from aioquic.asyncio.client import connect
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from cryptography.x509 import ocsp
from edge_harness import Edge, running, until
from tls_harness import connected, openssl, refused, resumed, shown

from demo.certificates import EDGE_NAMES
from demo.issuer import Issuer, Made, other_key, write_flat
from demo.processes import Process
from demo.system import LOOPBACK, WITHOUT_TLS, envoy_binary, free_ports

CA = Issuer()
NAMES = EDGE_NAMES
"""A renewal has the same: other names are a listener update, which drains connections."""
RENEWALS = 50


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("service")
    (folder / "tickets").write_bytes(os.urandom(32))
    (folder / "tickets").chmod(0o600)
    settings = {"edge": {"tables": 16}, "edge.tls.tickets": {"secret": "tickets"}}
    with running(folder, settings) as edge:
        yield edge


def folder(edge: Edge) -> Path:
    return edge.system.folder / "certs" / "certificates"


def port(edge: Edge) -> int:
    return edge.system.ports.edge_https


def put(edge: Edge, made: Made, staple: bytes | None = None) -> None:
    write_flat(folder(edge), "edge", made, staple)
    until(lambda: shown(port(edge), "a.example.com").serial_number == made.certificate.serial_number, "the new one")


class Load:
    """Clients that ask until they are stopped: some on one connection, some on a new one each time."""

    def __init__(self, edge: Edge, kept: tuple[bool, ...] = (True, False, False), *, http2: bool = True) -> None:
        self.answers = 0
        self._http2 = http2
        self.failures: list[str] = []
        self._edge = edge
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(each,)) for each in kept]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self, kept: bool) -> None:
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(self._client())
            while not self._stop.is_set():
                try:
                    if not kept:
                        client = stack.enter_context(self._client())
                    url = f"https://127.0.0.1:{port(self._edge)}/"
                    headers, extensions = {"host": "t0.example.com"}, {"sni_hostname": "t0.example.com"}
                    answer = client.get(url, headers=headers, extensions=extensions)
                    if answer.status_code != 200:
                        self.failures.append(str(answer.status_code))
                    self.answers += 1
                    if not kept:
                        client.close()
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))

    def _client(self) -> httpx.Client:
        return httpx.Client(verify=False, http2=self._http2, timeout=20, trust_env=False)


@pytest.mark.alone
def test_fifty_renewals_under_load_fail_no_request(edge: Edge) -> None:
    live: list[float] = []
    put(edge, CA.issue(*NAMES))
    with Load(edge) as load:
        until(lambda: load.answers > 50, "load")
        for _ in range(RENEWALS):
            made = CA.issue(*NAMES)
            began = time.monotonic()
            put(edge, made)
            live.append(time.monotonic() - began)
        until(lambda: load.answers > 20 * RENEWALS, "more load")
    assert load.failures == []
    assert sorted(live)[len(live) // 2] < 1, f"live after {sorted(live)[len(live) // 2]:.2f} s"


@pytest.mark.parametrize("kind", ["RSA 2048", "RSA 4096", "EC P-384", "EC P-521"])
def test_every_kind_of_key_that_is_taken_is_taken_by_envoy(edge: Edge, kind: str) -> None:
    put(edge, CA.issue(*NAMES, key=other_key(kind)))


def test_other_names_in_a_renewed_certificate_change_the_listener_and_no_new_connection_fails(edge: Edge) -> None:
    """One that is kept is drained, and closed after Envoy's drain time. Over HTTP/2 this client takes a GOAWAY for the
    end, and the answer that rightly follows for an error."""
    with Load(edge, kept=(False, False), http2=False) as load:
        put(edge, CA.issue(*NAMES, "more.example.net"))
        until(lambda: load.answers > 100, "load")
    assert load.failures == []


def test_a_broken_renewal_changes_nothing(edge: Edge) -> None:
    before = shown(port(edge), "a.example.com").serial_number
    write_flat(folder(edge), "edge", CA.issue(*NAMES, days=-1))
    url = f"{edge.system.api_url}/api/v1/certificates/edge"
    until(lambda: "expired" in WITHOUT_TLS.get(url).json()["set_aside"], "set aside")
    assert shown(port(edge), "a.example.com").serial_number == before


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_is_resumed_at_another_envoy_of_the_fleet_and_after_a_restart(edge: Edge, version: str) -> None:
    session = edge.system.folder / f"session{version}"
    put(edge, CA.issue(*NAMES))
    ask = "GET / HTTP/1.1\r\nHost: t0.example.com\r\nConnection: close\r\n\r\n"
    options = (version, "-servername", "t0.example.com", "-ign_eof")
    first = openssl("-connect", f"127.0.0.1:{port(edge)}", *options, "-sess_out", str(session), stdin=ask)
    assert "200 OK" in first
    assert not resumed(first)
    with second_envoy(edge) as other:
        again = openssl("-connect", f"127.0.0.1:{other}", *options, "-sess_in", str(session), stdin=ask)
        assert "200 OK" in again
        assert resumed(again)


@contextlib.contextmanager
def second_envoy(edge: Edge) -> Iterator[int]:
    """Another Envoy and another control plane, that share only the secret of the tickets and the certificates."""
    system = edge.system
    xds, http, https, plain, admin = free_ports(5)
    ports = {system.ports.xds: xds, system.ports.http: http, system.ports.edge_https: https}
    ports |= {system.ports.edge_http: plain, system.ports.admin: admin}
    made = {}
    for file in ("pointsman.toml", "envoy.yaml"):
        text = (system.folder / file).read_text()
        for old, new in ports.items():
            text = text.replace(str(old), str(new))
        made[file] = system.folder / f"second-{file}"
        made[file].write_text(text)
    plane = Process(
        "second pointsman",
        [sys.executable, "-m", "xds.cli", "serve", "-c", made["pointsman.toml"]],
        system.folder / "second-pointsman.log",
        system.folder,
    )
    command: list[str | Path] = [envoy_binary(), "-c", made["envoy.yaml"], "--disable-hot-restart", "-l", "warning"]
    command += ["--service-cluster", "edge", "--service-node", "edge-2", "--concurrency", "1"]
    envoy = Process("second envoy", command, system.folder / "second-envoy.log", system.folder)
    try:
        envoy.wait_until(lambda: _serves(https))
        yield https
    finally:
        envoy.stop()
        plane.stop()


def _serves(port: int) -> bool:
    try:
        with connected(port, "t0.example.com", timeout=2):
            return True
    except OSError:
        return False


def test_a_staple_is_shown_and_one_that_is_over_is_not(edge: Edge) -> None:
    made = CA.issue(*NAMES, chained=True)
    put(edge, made, CA.staple(made.certificate))
    said = openssl("-connect", f"127.0.0.1:{port(edge)}", "-servername", "t0.example.com", "-status")
    assert "OCSP Response Status: successful" in said
    fresh = CA.issue(*NAMES, chained=True)
    put(edge, fresh, CA.staple(fresh.certificate, status=ocsp.OCSPCertStatus.REVOKED))
    said = openssl("-connect", f"127.0.0.1:{port(edge)}", "-servername", "t0.example.com", "-status")
    assert "OCSP response: no response sent" in said


def test_a_staple_whose_end_comes_is_withdrawn(edge: Edge) -> None:
    made = CA.issue(*NAMES, chained=True)
    put(edge, made, CA.staple(made.certificate, days=15 / 86_400))

    def said() -> str:
        return openssl("-connect", f"127.0.0.1:{port(edge)}", "-servername", "t0.example.com", "-status")

    url = f"{edge.system.api_url}/api/v1/certificates/edge"
    until(lambda: "OCSP Response Status: successful" in said(), "it is shown")
    assert WITHOUT_TLS.get(url).json()["staple_ends"]
    until(lambda: "expired on" in WITHOUT_TLS.get(url).json()["staple"], "it is told", patience=40)
    until(lambda: "OCSP response: no response sent" in said(), "it is withdrawn")


def test_only_tls_1_2_with_aead_and_tls_1_3_are_spoken(edge: Edge) -> None:
    where = ("-connect", f"127.0.0.1:{port(edge)}", "-servername", "t0.example.com")
    assert "Cipher    : ECDHE-ECDSA-" in openssl(*where, "-tls1_2")
    assert "TLSv1.3" in openssl(*where, "-tls1_3")
    weaker = (("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"))
    for weak in weaker:
        assert "Cipher is (NONE)" in openssl(*where, *weak)
    for protocol in ("h2", "http/1.1"):
        assert f"ALPN protocol: {protocol}" in openssl(*where, "-alpn", protocol)


def test_an_unknown_name_and_none_are_shown_the_services_certificate(edge: Edge) -> None:
    serial = shown(port(edge), "t0.example.com").serial_number
    assert shown(port(edge), "unknown.test").serial_number == serial
    assert shown(port(edge), None).serial_number == serial


def test_unknown_names_are_refused_where_that_is_set(tmp_path: Path) -> None:
    with running(tmp_path, {"edge": {"tables": 16}, "edge.tls": {"unknown_sni": "refuse"}}, domains=10) as edge:
        assert not refused(port(edge), "t0.example.com")
        assert refused(port(edge), "unknown.test")
        assert refused(port(edge), None)
        assert asyncio.run(taken_over_quic(port(edge), "t0.example.com"))
        assert not asyncio.run(taken_over_quic(port(edge), "unknown.test"))


async def taken_over_quic(port: int, name: str) -> bool:
    """Whether the handshake of HTTP/3 is completed."""
    configuration = QuicConfiguration(
        alpn_protocols=H3_ALPN, server_name=name, verify_mode=ssl.CERT_NONE, idle_timeout=5.0
    )
    try:
        async with connect(LOOPBACK, port, configuration=configuration):
            return True
    except ConnectionError:
        return False
