"""Where each name has a certificate of its own, a connection is for that one host; and edge-lint sees such an edge."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx
import pytest
from edge_harness import Edge, envoy_is, running, until
from edge_wire import H2, first_answer, status

from demo.issuer import Issuer, write_flat
from demo.system import LOOPBACK
from xds.lint.checklist import verdicts
from xds.lint.config import from_dump

pytestmark = pytest.mark.skipif(envoy_is("1.36"), reason="certificates on demand need Envoy 1.37 or newer")

CA = Issuer()


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    settings: dict[str, dict[str, object]] = {"edge": {"tables": 16}, "edge.tls.on_demand": {"enabled": True}}
    with running(tmp_path_factory.mktemp("customers"), settings, domains=60) as edge:
        edge.load(*({"op": "put", "domain": f"c{number}.test", "pod": f"pod{number}"} for number in (1, 2)))
        folder = edge.system.folder / "certs" / "certificates"
        for number in (1, 2):
            write_flat(folder, f"c{number}.test", CA.issue(f"c{number}.test"))
        until(lambda: ask(edge, "c1.test", "c1.test") == 200, "a customer's own certificate")
        yield edge


def ask(edge: Edge, sni: str, host: str) -> int:
    """0 when the handshake fails."""
    with httpx.Client(verify=False, http2=True, trust_env=False) as client:
        url = f"https://{LOOPBACK}:{edge.system.ports.edge_https}/"
        try:
            return client.get(url, headers={"host": host}, extensions={"sni_hostname": sni}).status_code
        except httpx.TransportError:
            return 0


def test_a_customers_connection_is_for_its_own_host(edge: Edge) -> None:
    assert ask(edge, "c1.test", "C1.test:443") == 200
    assert ask(edge, "c1.test", "c2.test") == 421
    assert ask(edge, "c1.test", "t0.example.com") == 421
    assert ask(edge, "c2.test", "c2.test") == 200
    assert ask(edge, "any.example.com", "t0.example.com") == 200
    assert ask(edge, "any.example.com", "c1.test") == 421


def test_a_client_that_names_no_host_gets_the_services_names_alone(edge: Edge) -> None:

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for host, wanted in (("t0.example.com", 200), ("c1.test", 421), ("a.b.example.com", 421), ("x", 421)):
        plain = socket.create_connection((LOOPBACK, edge.system.ports.edge_https), timeout=20)
        with context.wrap_socket(plain) as tls:
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert (status(first_answer(tls)), host) == (wanted, host)


def test_one_connection_still_serves_all_the_services_names(edge: Edge) -> None:
    with H2(edge) as one:
        assert [one.answer(one.ask(host)) for host in ("t0.example.com", "b1.example.com")] == [200, 200]


def test_edge_lint_sees_certificates_on_demand_on_a_stream_of_their_own(edge: Edge) -> None:
    dump = httpx.get(f"{edge.system.admin_url}/config_dump", trust_env=False).json()
    found = {verdict.name: verdict for verdict in verdicts(from_dump(dump))}
    assert found["on-demand"].status == "held"
    assert [verdict.name for verdict in found.values() if verdict.status == "broken"] == []
