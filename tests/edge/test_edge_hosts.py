"""Which hosts a request may name, what an unknown one is answered, and which headers are ours alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_harness import Edge, envoy_is, running, until
from edge_wire import GOOD, H2, exchange, pod_requests, status

from demo.system import WITHOUT_TLS
from xds.resources.routes import SCOPE_HEADER

PAGE = "<!doctype html><p>Nobody is here: 100 % sure. {host} %REQ(:AUTHORITY)%</p>\n"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder: Path = tmp_path_factory.mktemp("hosts")
    (folder / "nobody.html").write_text(PAGE)
    settings: dict[str, dict[str, object]] = {
        "edge": {"tables": 16, "hsts": "max-age=31536000; includeSubDomains"},
        "edge.unknown_host": {"page": "nobody.html", "remember": 50},
    }
    with running(folder, settings) as edge:
        # All of a wildcard's names, so that nothing but the checks keeps two hosts in one from it.
        edge.put("*.acme.test", "pod3")
        edge.put("customer.example.org", "pod2")
        edge.becomes("x.acme.test", "pod3")
        yield edge


def get(host: bytes, target: bytes = b"/") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"


def test_one_wildcard_certificate_serves_all_its_names_on_one_connection(edge: Edge) -> None:
    with H2(edge, sni="edge.example.com") as one:
        streams = [one.ask(host) for host in (GOOD, "b1.example.com", "c2.example.com", "x.acme.test")]
        assert [one.answer(stream) for stream in streams] == [200] * 4


@pytest.mark.parametrize(
    "host", ["customer.example.org", "CUSTOMER.example.org:443", "deep.t0.example.com", "[::1]", "192.0.2.1"]
)
def test_a_host_that_the_certificate_is_not_for_is_a_421(edge: Edge, host: str) -> None:
    before = pod_requests(edge)
    assert edge.ask(host).status == 421
    assert edge.ask(host, h2=True).status == 421
    assert pod_requests(edge) == before


@pytest.mark.parametrize(
    "request_", [
        b"GET / HTTP/1.1\r\n\r\n",
        get(b""),
        get(b"t0.example.com\r\nHost: b1.example.com"),
        get(b"x.acme.test\r\nHost: x.acme.test"),
        get(b"y.example.com,x.acme.test"),
        get(b"t0.example.com:abc"),
        get(b"user@t0.example.com"),
        get(b"t0.example.com/path"),
        get(b"t0.example.com&a=b.acme.test"),
    ],
)  # fmt: skip
def test_more_than_one_host_or_none_or_nonsense_is_a_400(edge: Edge, request_: bytes) -> None:
    before = pod_requests(edge)
    assert status(exchange(edge, request_)) == 400
    assert pod_requests(edge) == before


def test_http2_with_another_host_header_goes_by_the_authority(edge: Edge) -> None:
    with H2(edge) as one:
        stream = one.ask(GOOD, more=[("host", "b1.example.com")])
        assert (one.answer(stream), one.pods.get(stream)) == (200, "pod1")


def test_http2_without_an_authority_needs_exactly_one_host(edge: Edge) -> None:
    with H2(edge) as one:
        assert one.answer(one.ask("", more=[])) in (0, 400)
    with H2(edge) as one:
        stream = one.ask("", more=[("host", GOOD), ("host", "x.acme.test")])
        if envoy_is("1.36"):  # which takes the first, as if there were no other
            assert (one.answer(stream), one.pods.get(stream)) == (200, "pod1")
        else:
            assert one.answer(stream) in (0, 400)


@pytest.mark.parametrize("host", ["T0.Example.COM", "t0.example.com.", "t0.example.com:8443", "T0.example.com.:443"])
def test_case_port_and_a_trailing_dot_are_the_same_host(edge: Edge, host: str) -> None:
    assert edge.ask(host).pod == "pod1"


@pytest.mark.parametrize("host", ["nobody.example.com", "~", "zz.example.com", "-x.example.com"])
def test_an_unknown_host_is_shown_the_page_whatever_its_scope(edge: Edge, host: str) -> None:
    if host == "~":
        host = "_x.example.com"  # no scope begins so
    for h2 in (False, True):
        url = f"https://127.0.0.1:{edge.system.ports.edge_https}/"
        answer = edge.http[h2].get(url, headers={"host": host}, extensions={"sni_hostname": "edge.example.com"})
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert answer.text == PAGE


def counted(edge: Edge) -> dict[str, int]:
    hosts = WITHOUT_TLS.get(f"{edge.system.api_url}/api/v1/unknown-hosts").json()["items"]
    return {asked["host"]: asked["count"] for asked in hosts}


def test_what_asks_a_known_host_for_no_path_makes_it_no_unknown_one(edge: Edge) -> None:
    for request in (
        b"CONNECT b1.example.com:443 HTTP/1.1\r\nHost: b1.example.com:443\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: b1.example.com\r\n\r\n",
        get(b"after.example.com"),
    ):
        assert status(exchange(edge, request)) in (400, 404)
    until(lambda: "after.example.com" in counted(edge), "what came after them is counted")
    assert "b1.example.com" not in counted(edge)


def test_the_hosts_asked_for_most_are_counted_and_a_scan_takes_no_memory(edge: Edge) -> None:
    with H2(edge) as one:
        for number in range(150):
            one.answer(one.ask(f"scan{number}.example.com"))
            one.answer(one.ask("popular.example.com"))
    until(lambda: counted(edge).get("popular.example.com", 0) >= 150, "the popular host is counted")
    assert len(counted(edge)) <= 50
    assert max(counted(edge), key=lambda host: counted(edge)[host]) == "popular.example.com"
    metrics = WITHOUT_TLS.get(f"{edge.system.api_url}/metrics").text
    assert 'pointsman_unknown_host{host="popular.example.com"}' in metrics
    assert GOOD not in counted(edge)


def test_hsts_is_on_https_answers_and_not_on_http(edge: Edge) -> None:
    assert edge.ask(GOOD).headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert "strict-transport-security" not in edge.ask_plain(GOOD).headers


def test_headers_of_ours_come_from_no_client_and_reach_no_pod(edge: Edge) -> None:
    forged = {
        SCOPE_HEADER: "zz",
        "x-pointsman-pod": "pod3",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-retry-on": "5xx",
        "x-envoy-original-path": "/admin",
        "x-envoy-internal": "true",
        "x-envoy-external-address": "192.0.2.7",
        "x-envoy-decorator-operation": "forged",
        "x-envoy-force-trace": "1",
        "x-forwarded-client-cert": "By=somebody",
        "x-forwarded-proto": "http",
        "x-request-id": "forged",
    }
    for h2 in (False, True):
        answer = edge.ask(GOOD, h2=h2, headers=forged)
        assert answer.pod == "pod1"
        seen = answer.seen["headers"]
        assert not {name for name in seen if name.startswith("x-pointsman-")}
        for name, value in forged.items():
            assert seen.get(name) != value, name
        assert seen["x-forwarded-proto"] == "https"


def test_http_is_only_redirected_and_acme_without_a_client_too(edge: Edge) -> None:
    for path in ("/", "/.well-known/acme-challenge/token", "/a/b?c=d"):
        answer = edge.ask_plain(GOOD, path)
        assert answer.status == 308
        assert answer.headers["location"] == f"https://{GOOD}:{edge.system.ports.edge_https}{path}"
