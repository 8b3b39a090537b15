"""A crowded pair through a real Envoy: its hosts are routed like all others, and it is split and joined unnoticed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from edge_harness import RUNNING, Edge, raw, running, until

from demo.system import WITHOUT_TLS
from xds.resources.rescope import hashed_key
from xds.resources.routes import SCOPE_HEADER, hashed_table_of, table_name, table_of

TABLES = 512
CROWDED = 16
CHANCE = random.Random(7)
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-"

both = pytest.mark.parametrize("h2", [False, True], ids=["http1", "http2"])


def made(pair: str, count: int) -> dict[str, str]:
    """Domains that begin so, of all lengths that there are."""
    hosts = {}
    for number in range(count):
        inner = "".join(CHANCE.choices(LETTERS, k=CHANCE.randint(0, 40)))
        more = "".join(f"{'x' * CHANCE.randint(1, 50)}." for _ in range(CHANCE.randint(0, 3)))
        hosts[f"{pair}{inner}{number}.{more}example.com"] = RUNNING[number % len(RUNNING)]
    return hosts


SPLIT = made("sp", 400)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("edge"), {"edge": {"crowded": CROWDED, "misdirected": False}}) as edge:
        put(edge, SPLIT)
        for domain, pod in SPLIT.items():
            edge.becomes(domain, pod)
        yield edge


def put(edge: Edge, domains: dict[str, str]) -> None:
    edge.load(*({"op": "put", "domain": domain, "pod": pod} for domain, pod in domains.items()))


def delete(edge: Edge, domains: dict[str, str]) -> None:
    edge.load(*({"op": "delete", "domain": domain} for domain in domains))


def table(edge: Edge, host: str) -> str:
    """Empty for a host that isn't known yet."""
    return str(WITHOUT_TLS.get(f"{edge.system.api_url}/api/v1/domains/{host}").json().get("table", ""))


def is_split(edge: Edge, host: str) -> bool:
    own, hashed = table_of(host, TABLES), hashed_table_of(host, TABLES)
    assert own != hashed, f"{host} tells nothing: both of its tables are one"
    found = table(edge, host)
    assert found in ("", table_name(own), table_name(hashed))
    return found == table_name(hashed)


@both
def test_the_hosts_of_a_split_pair_reach_their_pods(edge: Edge, h2: bool) -> None:
    assert {domain: edge.ask(domain, h2=h2).pod for domain in SPLIT} == SPLIT


@both
def test_letter_case_port_and_trailing_dot_do_not_matter(edge: Edge, h2: bool) -> None:
    for domain, pod in list(SPLIT.items())[:60]:
        mixed = "".join(CHANCE.choice((letter, letter.upper())) for letter in domain)
        for host in (domain.upper(), domain.title(), mixed, f"{mixed}:443", f"{domain}:{edge.system.ports.edge_https}"):
            assert (host, edge.ask(host, h2=h2).pod) == (host, pod)
    domain, pod = next(iter(SPLIT.items()))
    assert edge.ask(f"{domain}.", h2=h2).pod == pod


@both
@pytest.mark.parametrize("host", ["sp", "sp.example.com", "sp-nobody.example.com", "SP-NOBODY.example.com", "sp_"])
def test_an_unknown_host_of_a_split_pair_is_a_404(edge: Edge, host: str, h2: bool) -> None:
    answer = edge.ask(host, h2=h2)
    assert (answer.status, answer.pod) == (404, "")


@both
def test_a_forged_scope_changes_nothing_and_reaches_no_pod(edge: Edge, h2: bool) -> None:
    domain, pod = next(iter(SPLIT.items()))
    for forged in ("t0", "#rescope", hashed_key(0), hashed_key(hashed_table_of(domain, TABLES))):
        headers = {SCOPE_HEADER: forged}
        answer = edge.ask(domain, h2=h2, headers=headers)
        assert answer.pod == pod
        assert SCOPE_HEADER not in answer.seen["headers"]
        assert edge.ask("t0.example.com", h2=h2, headers=headers).pod == "pod1"
        assert edge.ask("sp-nobody.example.com", h2=h2, headers=headers).status == 404
        assert edge.ask("nobody.example.com", h2=h2, headers=headers).status == 404


@pytest.mark.parametrize("host", ["#rescope", "#0000", "#0001.example.com", "#", ""])
def test_a_key_of_a_table_is_no_host(edge: Edge, host: str) -> None:
    answer = raw(edge, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 "))


def test_a_wildcard_answers_in_a_split_pair_too(edge: Edge) -> None:
    put(edge, {"*.deep.example.com": "pod3", "spown.deep.example.com": "pod1"})
    edge.becomes("spown.deep.example.com", "pod1")
    for host in ("spany.deep.example.com", "SP.a.b.DEEP.example.com", "any.deep.example.com"):
        edge.becomes(host, "pod3")
    delete(edge, {"*.deep.example.com": "", "spown.deep.example.com": ""})
    edge.becomes("spany.deep.example.com", "")


def test_changes_in_a_split_pair_are_seen(edge: Edge) -> None:
    edge.put("spnew.example.com", "pod1")
    edge.becomes("spnew.example.com", "pod1")
    edge.put("spnew.example.com", "pod2")
    edge.becomes("spnew.example.com", "pod2")
    edge.delete("spnew.example.com")
    edge.becomes("spnew.example.com", "")


def test_the_table_that_answers_is_told(edge: Edge) -> None:
    assert {domain: table(edge, domain) for domain in list(SPLIT)[:50]} == {
        domain: table_name(hashed_table_of(domain, TABLES)) for domain in list(SPLIT)[:50]
    }
    assert table(edge, "t0.example.com") == table_name(table_of("t0", TABLES))


def test_no_listener_is_updated_and_nothing_rejected_while_pairs_are_split_and_joined(edge: Edge) -> None:
    def listeners() -> list[tuple[str, str]]:
        found = edge.config_dump("dynamic_listeners")
        return [(one["name"], one["active_state"]["last_updated"]) for one in found]

    before = listeners()
    crowd = {f"qs-{number}.example.com": "pod1" for number in range(2 * CROWDED)}
    put(edge, crowd)
    until(lambda: is_split(edge, "qs-1.example.com"), "the pair is split")
    edge.becomes("qs-1.example.com", "pod1")
    delete(edge, {domain: pod for domain, pod in crowd.items() if domain != "qs-1.example.com"})
    until(lambda: not is_split(edge, "qs-1.example.com"), "the pair is joined")
    edge.becomes("qs-1.example.com", "pod1")
    assert listeners() == before
    assert not {name: count for name, count in edge.stats("update_rejected").items() if count}
    assert sum(edge.stats("lua.*errors").values()) == 0


def test_a_pair_is_split_and_joined_twenty_times_under_load(edge: Edge) -> None:
    """No request fails and none is misrouted; while it goes on, a domain of the pair moves now and then."""
    steady = {f"zz-{number}.example.com": RUNNING[number % 3] for number in range(6)}
    witness = next(domain for domain in steady if table_of("zz", TABLES) != hashed_table_of(domain, TABLES))
    put(edge, steady)
    for domain, pod in steady.items():
        edge.becomes(domain, pod)
    assert not is_split(edge, witness)
    failures: list[str] = []
    asked = [0]
    stop = threading.Event()

    def load(worker: int) -> None:
        with edge.client(h2=worker % 2 == 0) as client:
            turn = worker
            while not stop.is_set():
                turn += 1
                domain = list(steady)[turn % len(steady)]
                host = domain.upper() if turn % 3 == 0 else domain
                try:
                    answer = client.get(
                        f"https://127.0.0.1:{edge.system.ports.edge_https}/",
                        headers={"host": host},
                        extensions={"sni_hostname": "edge.example.com"},
                    )
                except Exception as error:
                    failures.append(f"{host}: {error!r}")
                    continue
                asked[0] += 1
                if answer.status_code != 200 or answer.headers.get("x-pod") != steady[domain]:
                    failures.append(f"{host}: {answer.status_code} by {answer.headers.get('x-pod')}")

    workers = [threading.Thread(target=load, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for turn in range(20):
        more = {f"zz-more{number}.example.com": "pod2" for number in range((CROWDED, 3 * CROWDED)[turn % 2])}
        put(edge, more)
        until(lambda: is_split(edge, witness), f"the pair is split, turn {turn}")
        edge.becomes("zz-more3.example.com", "pod2")
        edge.put("zz-more3.example.com", "pod3")
        edge.becomes("zz-more3.example.com", "pod3")
        if turn % 3 == 0:
            time.sleep(0.5)
        delete(edge, more)
        until(lambda: not is_split(edge, witness), f"the pair is joined, turn {turn}")
    stop.set()
    for worker in workers:
        worker.join()
    assert not failures, f"{len(failures)} of {asked[0]}: {failures[:5]}"
    assert asked[0] > 200
    (node,) = edge.nodes()
    assert [kind["nacked"] for kind in node["types"]] == [0] * len(node["types"])


def test_a_restart_with_crowded_pairs_serves_them_and_fails_no_request(edge: Edge) -> None:
    """The pairs that stand between the marks, too: Envoy goes on with what it has."""
    between = {f"yy-{number}.example.com": "pod1" for number in range(CROWDED * 6 // 8)}
    put(edge, between)
    for domain in between:
        edge.becomes(domain, "pod1")
    edge.system.kill("pointsman")
    edge.system.start_control_plane()
    seen = set()
    ready_at = None
    while ready_at is None or time.monotonic() < ready_at + 3:
        seen |= {edge.ask(domain).pod == pod for domain, pod in {**dict(list(SPLIT.items())[:5]), **between}.items()}
        if ready_at is None and edge_ready(edge):
            ready_at = time.monotonic()
    assert seen == {True}
    until(lambda: len(edge.nodes()) == 1, "Envoy is back")
    assert {domain: edge.ask(domain).pod for domain in SPLIT} == SPLIT


def edge_ready(edge: Edge) -> bool:
    try:
        return WITHOUT_TLS.get(f"{edge.system.api_url}/readyz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
