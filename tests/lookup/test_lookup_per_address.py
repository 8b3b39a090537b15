"""One client address asks for so many unknown hosts a second: what is more ends in Envoy, and no one else notices."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPResponse

import pytest
from edge_harness import Edge, customers, until
from edge_wire import exchange, status
from looking_up import Looked, asked_from, checks, looking_up

from xds.resources.routes import table_name, table_of

RATE, BURST = 2, 10
SCANNER, VISITOR = "127.0.0.7", "127.0.0.8"
"""Client addresses. The harness asks from 127.0.0.1."""
UNKNOWN = (f"nobody{number}.example.com" for number in itertools.count())
COLD = iter(customers(200)[1:])


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    lookup = {"address_rate": RATE, "address_burst": BURST}
    with looking_up(
        tmp_path_factory.mktemp("per-address"), lookup, {"edge": {"crowded": 8, "misdirected": False}}
    ) as it:
        yield it


def scanned(edge: Edge, hosts: Iterator[str], count: int, source: str = SCANNER) -> Counter[int]:
    return Counter(asked_from(edge, next(hosts), source).status for _ in range(count))


def allowed(began: float) -> float:
    """Requests that one address may have had answered since then, whatever it asked before."""
    return BURST + RATE * (time.monotonic() - began) + 1


def limited(edge: Edge) -> int:
    return sum(edge.stats("pointsman.http_local_rate_limit.enforced").values())


def test_a_scan_from_one_address_ends_in_envoy_and_the_first_visit_from_another_does_not(looked: Looked) -> None:
    edge, (host, pod) = looked.edge, next(COLD)
    began, before = time.monotonic(), checks(edge.system.admin_url)
    found = scanned(edge, UNKNOWN, 60, "127.0.0.6")
    assert found[404] + found[429] == 60
    assert BURST <= found[404] <= allowed(began)
    assert checks(edge.system.admin_url) == before + found[404]
    assert asked_from(edge, host, VISITOR).headers["x-pod"] == pod


def test_who_asks_too_often_is_told_when_to_come_again_and_envoy_counts_it(looked: Looked) -> None:
    edge, before = looked.edge, limited(looked.edge)
    answers: list[HTTPResponse] = []

    def refused() -> bool:
        answers.append(asked_from(edge, next(UNKNOWN), SCANNER))
        return answers[-1].status == 429

    until(refused, "the address has asked too often")
    assert answers[-1].headers["retry-after"] == "1"
    assert limited(edge) == before + 1


def test_who_waits_may_ask_again(looked: Looked) -> None:
    edge = looked.edge
    until(lambda: asked_from(edge, next(UNKNOWN), SCANNER).status == 429, "the address has asked too often")
    until(lambda: asked_from(edge, next(UNKNOWN), SCANNER).status == 404, "it may ask again")


def test_known_hosts_are_never_limited_whoever_asks(looked: Looked) -> None:
    edge, (host, pod) = looked.edge, next(COLD)
    looked.learned(host, pod)
    until(lambda: asked_from(edge, next(UNKNOWN), SCANNER).status == 429, "the address has asked too often")
    assert scanned(edge, itertools.repeat(host), 3 * BURST) == {200: 3 * BURST}


def test_of_a_split_pair_only_unknown_hosts_are_limited(looked: Looked) -> None:
    edge = looked.edge
    hosts = [f"sp{number}.example.com" for number in range(20)]
    edge.load(*({"op": "put", "domain": host, "pod": "pod2"} for host in hosts))
    for number, host in enumerate(hosts):
        assert asked_from(edge, host, f"127.0.3.{number + 1}").status == 200
    whole = table_name(table_of("sp", 512))
    until(lambda: all(looked.knows(host) and looked.table(host) != whole for host in hosts[:5]), "the pair is split")
    until(lambda: looked.at_envoy(*hosts), "all are known")
    strangers = (f"spz{number}.example.com" for number in itertools.count())
    until(lambda: asked_from(edge, next(strangers), SCANNER).status == 429, "the address has asked too often")
    assert scanned(edge, itertools.cycle(hosts), 3 * BURST) == {200: 3 * BURST}


def test_a_host_that_is_asked_for_again_and_again_counts_each_time(looked: Looked) -> None:
    began = time.monotonic()
    found = scanned(looked.edge, itertools.repeat("nobody.example.com"), 40, "127.0.0.9")
    assert BURST <= found[404] <= allowed(began)
    assert found[429] == 40 - found[404]


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Behind a balancer that says who the client is."""
    lookup = {"address_rate": RATE, "address_burst": BURST}
    more = {"edge": {"proxy_protocol": True, "misdirected": False}}
    folder = tmp_path_factory.mktemp("balanced")
    with looking_up(folder, lookup, more, known=lambda edge: told(edge, "t0.example.com", "203.0.113.1") == 200) as it:
        yield it.edge


def told(edge: Edge, host: str, client: str) -> int:
    """The status for a client whom the balancer names."""
    family = "TCP6 {} 2001:db8:ffff::1" if ":" in client else "TCP4 {} 203.0.113.250"
    preface = f"PROXY {family.format(client)} 4711 443\r\n".encode()
    return status(exchange(edge, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), preface=preface))


@pytest.mark.parametrize(
    ("client", "others", "another"),
    [
        ("203.0.113.7", ["203.0.113.7"], "203.0.113.8"),
        ("2001:db8:0:1::1", [f"2001:db8:0:1:{part:x}::2" for part in range(1, 60)], "2001:db8:0:2::1"),
    ],
    ids=["ipv4", "ipv6, a network of 64 bits"],
)
def test_who_counts_is_the_client_that_the_balancer_names(
    balanced: Edge, client: str, others: list[str], another: str
) -> None:
    began = time.monotonic()
    found = Counter(
        told(balanced, next(UNKNOWN), each) for each, _ in zip(itertools.cycle([client, *others]), range(60))
    )
    assert found[404] + found[429] == 60
    assert BURST <= found[404] <= allowed(began)
    assert told(balanced, next(UNKNOWN), another) == 404
