"""Where requests go, through a real Envoy: every host to its pod, and nothing that a client says changes that."""

from __future__ import annotations

import pytest
from edge_harness import VARIANT, Edge, customers, raw

from xds.resources.routes import SCOPE_HEADER

KNOWN = customers(200)


@pytest.mark.parametrize("h2", [False, True], ids=["http1", "http2"])
def test_each_domain_reaches_its_pod(edge: Edge, h2: bool) -> None:
    assert {domain: edge.ask(domain, h2=h2).pod for domain, _ in KNOWN} == dict(KNOWN)


@pytest.mark.parametrize("h2", [False, True], ids=["http1", "http2"])
def test_letter_case_does_not_matter(edge: Edge, h2: bool) -> None:
    for domain, pod in KNOWN:
        for host in (domain.upper(), domain.title(), domain[0] + domain[1:].upper()):
            assert (edge.ask(host, h2=h2).pod, host) == (pod, host)


@pytest.mark.parametrize("h2", [False, True], ids=["http1", "http2"])
def test_a_port_does_not_matter(edge: Edge, h2: bool) -> None:
    for domain, pod in KNOWN:
        assert edge.ask(f"{domain}:{edge.system.ports.edge_https}", h2=h2).pod == pod
        assert edge.ask(f"{domain.upper()}:443", h2=h2).pod == pod


def test_a_trailing_dot_does_not_matter(edge: Edge) -> None:
    domain, pod = KNOWN[7]
    assert edge.ask(f"{domain}.").pod == pod


@pytest.mark.parametrize(
    "host",
    [
        "nobody.example.com",
        "zz.example.com",
        "_x.example.com",
        "example.com",
        "t0.example.org",
        "192.0.2.1",
        "x",
        "[::1]",
    ],
)
@pytest.mark.parametrize("h2", [False, True], ids=["http1", "http2"])
def test_an_unknown_host_is_a_404(edge: Edge, host: str, h2: bool) -> None:
    answer = edge.ask(host, h2=h2)
    assert (answer.status, answer.pod) == (404, "")


@pytest.mark.parametrize("h2", [False, True], ids=["http1", "http2"])
def test_a_forged_scope_changes_nothing_and_reaches_no_pod(edge: Edge, h2: bool) -> None:
    for domain, pod in KNOWN[:20]:
        answer = edge.ask(domain, h2=h2, headers={SCOPE_HEADER: "zz"})
        assert answer.pod == pod
        assert SCOPE_HEADER not in answer.seen["headers"]
    assert edge.ask("nobody.example.com", h2=h2, headers={SCOPE_HEADER: "t0"}).status == 404


def test_a_forged_scope_sent_many_times_changes_nothing(edge: Edge) -> None:
    forged = f"{SCOPE_HEADER}: zz\r\n{SCOPE_HEADER.upper()}: aa\r\n"
    answer = raw(edge, f"GET / HTTP/1.1\r\nHost: t0.example.com\r\n{forged}\r\n".encode())
    assert b"200 OK" in answer
    assert SCOPE_HEADER.encode() not in answer.lower()


def test_http_only_redirects(edge: Edge) -> None:
    answer = edge.ask_plain("t0.example.com", "/a/b?c=d")
    assert answer.status == 308
    assert answer.headers["location"] == f"https://t0.example.com:{edge.system.ports.edge_https}/a/b?c=d"
    assert edge.ask_plain("T0.example.com:10080").headers["location"].startswith("https://T0.example.com:")
    assert edge.ask_plain("nobody.example.com").status == 308


def test_envoy_accepts_everything_it_was_sent(edge: Edge) -> None:
    (node,) = edge.nodes()
    assert (node["node"], node["identity"], node["variant"]) == ("edge-1", "edge-1", VARIANT)
    assert {kind["type"] for kind in node["types"]} == {"cluster", "endpoint", "secret", "listener", "scope", "route"}
    assert [kind["nacked"] for kind in node["types"]] == [0] * 6
    assert all(kind["acked"] > 0 for kind in node["types"])
    assert not {name: count for name, count in edge.stats("update_rejected").items() if count}
