"""Where certificates come on demand, a connection is for what the one shown is for; and edge-lint sees such an edge."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from edge_harness import Edge, envoy_is, running, until
from edge_wire import H2, first_answer, status

from demo.issuer import Issuer, write_flat
from demo.system import LOOPBACK, WITHOUT_TLS
from xds.lint.checklist import verdicts
from xds.lint.config import from_dump

pytestmark = pytest.mark.skipif(envoy_is("1.36"), reason="certificates on demand need Envoy 1.37 or newer")

CA = Issuer()
Dump = dict[str, Any]


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    settings: dict[str, dict[str, object]] = {"edge": {"tables": 16}, "edge.tls.on_demand": {"enabled": True}}
    with running(tmp_path_factory.mktemp("customers"), settings, domains=60) as edge:
        hosts = {"c1.test": "pod1", "c2.test": "pod2", "*.wild.test": "pod3", "bare.test": "pod1", "Many.test": "pod2"}
        edge.load(*({"op": "put", "domain": domain.lower(), "pod": pod} for domain, pod in hosts.items()))
        folder = edge.system.folder / "certs" / "certificates"
        write_flat(folder, "wild", CA.issue("*.wild.test"))
        write_flat(folder, "many.test", CA.issue(*(f"n{number}.test" for number in range(99)), "Many.test", "c2.test"))
        for number in (1, 2):
            write_flat(folder, f"c{number}.test", CA.issue(f"c{number}.test"))
        for host in ("c1.test", "c2.test"):
            until(lambda host=host: ask(edge, host, host) == 200, "a customer's own certificate")  # type: ignore[misc]
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


def test_one_wildcard_of_a_customers_serves_all_its_names_on_one_connection(edge: Edge) -> None:
    until(lambda: ask(edge, "a.wild.test", "a.wild.test") == 200, "the customer's wildcard")
    with H2(edge, sni="a.wild.test", verify=False) as one:
        streams = [one.ask(host) for host in ("a.wild.test", "b.wild.test", "B.Wild.Test:443")]
        assert [one.answer(stream) for stream in streams] == [200, 200, 200]
        others = [one.ask(host) for host in ("wild.test", "a.b.wild.test", ".wild.test", "c1.test", "t0.example.com")]
        assert [one.answer(stream) for stream in others] == [421] * 5


def test_a_certificate_of_many_names_serves_each_of_them(edge: Edge) -> None:
    until(lambda: ask(edge, "many.test", "many.test") == 200, "the certificate of many names")
    assert ask(edge, "many.test", "c2.test") == 200
    assert ask(edge, "many.test", "n5.test") == 404  # it is for it, and nobody has it
    assert ask(edge, "many.test", "c1.test") == 421


def test_what_counts_is_the_certificate_that_was_shown_and_not_what_was_asked_for(edge: Edge) -> None:
    """Both are shown the service's: the one has none of its own, the other is nobody's."""
    assert ask(edge, "bare.test", "bare.test") == 421
    assert ask(edge, "nobody.test", "t0.example.com") == 200
    assert ask(edge, "nobody.test", "nobody.test") == 421


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
    dump = WITHOUT_TLS.get(f"{edge.system.admin_url}/config_dump").json()
    found = {verdict.name: verdict for verdict in verdicts(from_dump(dump))}
    assert found["on-demand"].status == "held"
    assert [verdict.name for verdict in found.values() if verdict.status == "broken"] == []


def customers(dump: Dump) -> Dump:
    """The chain whose certificates come on demand."""
    found = [each["active_state"]["listener"] for part in dump["configs"] for each in part.get("dynamic_listeners", ())]
    (https,) = [each for each in found if each["name"] == "https"]
    chain: Dump = next(each for each in https["filter_chains"] if each["name"] == "customers")
    return chain


def manager(dump: Dump) -> Dump:
    found: Dump = customers(dump)["filters"][0]["typed_config"]
    return found


def looks(dump: Dump) -> Dump:
    """The filter that looks at the certificate."""
    return next(each for each in manager(dump)["http_filters"] if each["name"] == "pointsman.covered-host")


def selector(dump: Dump) -> Dump:
    context = customers(dump)["transport_socket"]["typed_config"]["common_tls_context"]
    found: Dump = context["custom_tls_certificate_selector"]["typed_config"]
    return found


def without_it(dump: Dump) -> None:
    manager(dump)["http_filters"] = [each for each in manager(dump)["http_filters"] if each != looks(dump)]


def few_requests(dump: Dump) -> None:
    for part in dump["configs"]:
        for each in part.get("static_clusters", ()):
            each["cluster"].get("circuit_breakers", {"thresholds": [{}]})["thresholds"][0].update(max_requests=1025)


@pytest.mark.parametrize(
    ("row", "change"),
    [
        ("misdirected", without_it),
        ("misdirected", lambda dump: looks(dump).update(disabled=True)),
        (
            "misdirected",
            lambda dump: looks(dump)["typed_config"]["default_source_code"].update(inline_string="-- the certificate"),
        ),
        ("misdirected", lambda dump: manager(dump)["http_filters"].reverse()),
        ("on-demand", few_requests),
        ("on-demand", lambda dump: selector(dump).update(config_source={"ads": {}})),
        ("tenants", lambda dump: selector(dump).update(prefetch_secret_names=[f"c{n}.test" for n in range(500)])),
        ("handshake-timeout", lambda dump: customers(dump).pop("transport_socket_connect_timeout")),
        (
            "tls-versions",
            lambda dump: customers(dump)["transport_socket"]["typed_config"].update(common_tls_context={}),
        ),
    ],
)
def test_edge_lint_names_what_is_broken_there(edge: Edge, row: str, change: Callable[[Dump], object]) -> None:
    dump = WITHOUT_TLS.get(f"{edge.system.admin_url}/config_dump").json()
    change(dump)
    broken = [verdict.name for verdict in verdicts(from_dump(dump)) if verdict.status == "broken"]
    assert row in broken
