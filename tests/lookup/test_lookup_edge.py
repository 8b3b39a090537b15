"""A host that nobody has asked for yet, through a real Envoy: asked once, routed in the same pass, then known."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_harness import Answer, Edge, customers, until
from edge_wire import connect, first_answer, status
from http3 import http3
from looking_up import QUICK, Looked, checks, looking_up, write_pods
from websocket_pod import websocket_pod

from demo.system import WITHOUT_TLS
from xds.resources.cold import POD_HEADER
from xds.resources.routes import SCOPE_HEADER, hashed_table_of, table_name, table_of

COLD = iter(customers(400))
"""Each is asked for in one place only: it is cold there."""
next(COLD)
LARGE = b"x" * 3_000_000


def questions_for_requests(looked: Looked) -> float:
    """Which GDS was asked because somebody asked the edge, and not in the background."""
    return looked.metric("lookup_asked_total", by="request")


def test_a_cold_request_reaches_its_pod_and_from_then_on_the_control_plane_is_out_of_the_path(
    looked: Looked, edge: Edge
) -> None:
    host, pod = next(COLD)
    assert not looked.knows(host)
    questions = questions_for_requests(looked)
    assert edge.ask(host).pod == pod
    assert (looked.gds.asked[host] > 0, questions_for_requests(looked)) == (True, questions + 1)
    until(lambda: looked.at_envoy(host), "the domain is pushed")
    before = checks(edge.system.admin_url)
    assert {edge.ask(host, h2=h2).pod for h2 in (False, True) for _ in range(10)} == {pod}
    assert checks(edge.system.admin_url) == before


@pytest.mark.parametrize("h2", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_any_method_and_a_large_body_pass_in_the_same_request(edge: Edge, method: str, h2: bool) -> None:
    host, pod = next(COLD)
    url = f"https://127.0.0.1:{edge.system.ports.edge_https}/upload?q=1"
    body = b"" if method in ("HEAD", "OPTIONS") else LARGE
    answer = edge.http[h2].request(
        method, url, content=body, headers={"host": host}, extensions={"sni_hostname": "edge.example.com"}
    )
    assert (answer.status_code, answer.headers["x-pod"]) == (200, pod)
    if method != "HEAD":
        assert (answer.json()["body_bytes"], answer.json()["method"]) == (len(body), method)


def test_a_cold_request_over_http3_reaches_its_pod(edge: Edge) -> None:
    host, pod = next(COLD)
    assert http3(edge.system.ports.edge_https, host, method="POST", body=b"y" * 100_000)["x-pod"] == pod


def test_a_forged_header_chooses_no_pod_and_none_is_sent_to_one(edge: Edge) -> None:
    host, pod = next(COLD)
    other = "pod1" if pod != "pod1" else "pod2"
    forged = {POD_HEADER: other, POD_HEADER.upper(): other, "x-pointsman-anything": "1"}
    answer = edge.ask(host, headers=forged)
    assert answer.pod == pod
    assert not [name for name in answer.seen["headers"] if name.startswith("x-pointsman")]
    assert edge.ask("nobody.example.com", headers=forged).status == 404
    assert edge.ask("nobody.example.com", headers={POD_HEADER: other, SCOPE_HEADER: "#0001"}).status == 404


def test_a_host_that_becomes_known_while_it_is_asked_for_reaches_its_pod_without_our_headers(
    looked: Looked, edge: Edge
) -> None:
    host, pod = next(COLD)
    found: list[Answer] = []
    looked.gds.hold(host)
    asker = threading.Thread(target=lambda: found.append(edge.ask(host, headers={POD_HEADER: "pod1"})))
    try:
        asker.start()
        until(lambda: looked.gds.asked[host] == 1, "GDS is asked")
        token = (looked.folder / "state" / "token").read_text().strip()
        url = f"{edge.system.api_url}/api/v1/lookup/hosts"
        taken = WITHOUT_TLS.post(url, json={"hosts": {host: pod}}, headers={"authorization": f"Bearer {token}"})
        assert taken.json()["taken"] == 1
        until(lambda: looked.at_envoy(host), "the domain is pushed")
        assert not found, "GDS hasn't answered yet"
    finally:
        looked.gds.let_go()
        asker.join()
    assert found[0].pod == pod
    assert not [name for name in found[0].seen["headers"] if name.startswith("x-pointsman")]


def test_a_host_that_gds_does_not_know_is_a_404_and_gds_is_asked_once_for_a_while(looked: Looked, edge: Edge) -> None:
    began = time.monotonic()
    assert [edge.ask("stranger.example.com", h2=n % 2 == 0).status for n in range(10)] == [404] * 10
    whiles = (time.monotonic() - began) // QUICK["unknown_for"]  # that may be over, on a slow machine
    assert looked.gds.asked["stranger.example.com"] <= 2 + whiles
    assert not looked.at_envoy("stranger.example.com")
    edge.put("stranger.example.com", "pod1")
    edge.becomes("stranger.example.com", "pod1")


@pytest.mark.parametrize("host", ["192.0.2.1", "[::1]", "_x.example.com", "x", "a" * 64 + ".example.com", "-.example"])
def test_what_can_be_no_domain_is_a_404_and_no_question(looked: Looked, edge: Edge, host: str) -> None:
    before = {*looked.gds.asked}
    assert edge.ask(host).status == 404
    assert {*looked.gds.asked} == before


def test_all_who_wait_for_one_host_cost_one_question(looked: Looked, edge: Edge) -> None:
    host, pod = next(COLD)
    looked.gds.hold(host)
    under_way = "^cluster.pointsman_lookup.upstream_rq_active$"
    found = []

    def ask() -> None:
        with edge.client(False) as client:
            url = f"https://127.0.0.1:{edge.system.ports.edge_https}/"
            answer = client.get(url, headers={"host": host}, extensions={"sni_hostname": "edge.example.com"})
            found.append(answer.headers.get("x-pod"))

    askers = [threading.Thread(target=ask) for _ in range(30)]
    try:
        for asker in askers:
            asker.start()
        until(lambda: sum(edge.stats(under_way).values()) == 30, "all of them wait")
        assert looked.gds.asked[host] == 1
    finally:
        looked.gds.let_go()
        for asker in askers:
            asker.join()
    assert found == [pod] * 30


def test_a_first_visitor_waits_for_a_slow_gds_and_the_control_plane_is_asked_once(looked: Looked, edge: Edge) -> None:
    host, pod = next(COLD)
    questions = "pointsman_lookup.upstream_rq_total"
    before = sum(edge.stats(questions).values())
    looked.gds.delay = 2.0
    try:
        answer = edge.ask(host)
    finally:
        looked.gds.delay = 0.0
    assert (answer.status, answer.pod) == (200, pod)
    assert sum(edge.stats(questions).values()) == before + 1


def test_the_host_is_asked_for_as_gds_knows_it(looked: Looked, edge: Edge) -> None:
    host, pod = next(COLD)
    assert edge.ask(f"{host.upper()}.:8443").pod == pod
    assert looked.gds.asked[host] >= 1
    assert not [one for one in looked.gds.asked if one != one.lower() or ":" in one or one.endswith(".")]


def test_a_domain_that_moves_reaches_its_new_pod_within_the_refresh_time(looked: Looked, edge: Edge) -> None:
    host, pod = next(COLD)
    looked.learned(host, pod)
    other = "pod1" if pod != "pod1" else "pod2"
    edge.put(host, other)
    edge.becomes(host, other)


def test_a_domain_that_gds_no_longer_has_is_withdrawn_after_the_grace_time(looked: Looked, edge: Edge) -> None:
    host, pod = next(COLD)
    looked.learned(host, pod)
    began = time.monotonic()
    edge.delete(host)
    until(lambda: looked.metric("lookup_missing") >= 1, "GDS was asked, and hasn't got it")
    edge.becomes(host, "")
    assert time.monotonic() - began >= QUICK["grace"]
    assert not looked.at_envoy(host)


def test_only_the_one_call_is_used(looked: Looked) -> None:
    assert looked.gds.refused == []


def test_a_websocket_of_a_cold_host_is_opened(looked: Looked, edge: Edge) -> None:
    with websocket_pod() as port:
        write_pods(looked.folder, {**edge.pods, "sockets": port})
        looked.gds.says["ws.example.com"] = "sockets"
        until(lambda: _has_cluster(edge, "sockets"), "the pod of the file is at Envoy")
        with connect(edge) as sock:
            sock.sendall(
                b"GET /ws HTTP/1.1\r\nhost: ws.example.com\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
            )
            answer = first_answer(sock)
            assert status(answer) == 101, answer
            assert b"x-saw-" not in answer
            sock.sendall(b"\x81\x05hello")
            assert sock.recv(100) == b"\x81\x05hello"


def test_a_pod_that_is_not_in_the_file_leads_nowhere_until_it_is(looked: Looked, edge: Edge) -> None:
    looked.gds.says["fresh.example.com"] = "pod9"
    answer = edge.ask("fresh.example.com")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert looked.metric("lookup_turned_away_total", why="pod") >= 1
    write_pods(looked.folder, {**edge.pods, "pod9": edge.pods["pod1"]})
    edge.becomes("fresh.example.com", "pod1")


@pytest.mark.parametrize("said", ["pointsman:xds", "../pod1", "pod1 pod2", "p" * 64])
def test_what_can_be_no_pod_leads_nowhere(looked: Looked, edge: Edge, said: str) -> None:
    host = f"odd{len(said)}.example.com"
    looked.gds.says[host] = said
    assert edge.ask(host).status == 503
    assert not looked.at_envoy(host)


def test_a_pods_file_that_is_broken_changes_nothing(looked: Looked, edge: Edge) -> None:
    host, pod = next(COLD)
    looked.learned(host, pod)
    whole = (looked.folder / "pods.json").read_text()
    (looked.folder / "pods.json").write_text("[{")
    until(lambda: looked.metric("lookup_pods_file_refused") == 1, "the broken file is seen")
    assert "pods.json" in str(looked.ready()["lookup"])
    assert edge.ask(host).pod == pod
    (looked.folder / "pods.json").write_text(whole)
    until(lambda: looked.metric("lookup_pods_file_refused") == 0, "the whole file is taken")


def _has_cluster(edge: Edge, name: str) -> bool:
    return any(each["cluster"]["name"] == name for each in edge.config_dump("dynamic_active_clusters"))


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    folder = tmp_path_factory.mktemp("crowded")
    (folder / "page.html").write_text("<h1>nobody is here</h1>")
    edge = {"misdirected": False, "crowded": 8}
    with looking_up(folder, more={"edge": edge, "edge.unknown_host": {"page": "page.html"}}) as looked:
        yield looked


def test_hosts_of_a_split_pair_are_asked_for_once_and_known_ones_never(crowded: Looked) -> None:
    edge = crowded.edge
    hosts = [f"sp{n}.example.com" for n in range(40)]
    edge.load(*({"op": "put", "domain": host, "pod": "pod2"} for host in hosts))
    crowded.all_learned(dict.fromkeys(hosts[:30], "pod2"))
    until(lambda: _splits(crowded), "the pair is split")
    assert edge.ask("spa-nobody.example.com").status == 404
    before = checks(edge.system.admin_url)
    assert {edge.ask(host, h2=h2).pod for h2 in (False, True) for host in hosts[:30]} == {"pod2"}
    assert checks(edge.system.admin_url) == before
    for host in hosts[30:]:
        assert edge.ask(host).pod == "pod2"
        assert edge.ask(host.upper()).pod == "pod2"
    assert checks(edge.system.admin_url) >= before + 10
    answer = edge.ask("spz-nobody.example.com", headers={POD_HEADER: "pod1"})
    assert answer.status == 404


def test_unknown_hosts_get_the_page_that_is_set_and_are_counted(crowded: Looked) -> None:
    edge = crowded.edge
    answer = edge.http[False].get(
        f"https://127.0.0.1:{edge.system.ports.edge_https}/",
        headers={"host": "lost.example.com"},
        extensions={"sni_hostname": "edge.example.com"},
    )
    assert (answer.status_code, answer.text) == (404, "<h1>nobody is here</h1>")
    until(lambda: "lost.example.com" in _unknown(crowded), "it is among the unknown hosts")


def _splits(looked: Looked) -> bool:
    """Its hosts are in the tables of their hashes."""
    host = next(
        f"sp{n}.example.com" for n in range(30) if hashed_table_of(f"sp{n}.example.com", 512) != table_of("sp", 512)
    )
    return looked.table(host) == table_name(hashed_table_of(host, 512))


def _unknown(looked: Looked) -> str:
    return WITHOUT_TLS.get(f"{looked.edge.system.api_url}/api/v1/unknown-hosts").text


def test_a_move_is_at_the_edge_within_the_refresh_time_that_is_set(tmp_path: Path) -> None:
    with looking_up(tmp_path, {"refresh": 5.0}) as looked:
        hosts = customers(24)
        for host, pod in hosts:
            looked.edge.becomes(host, pod)
        until(lambda: all(looked.knows(host) for host, _ in hosts), "all are known")
        moved = {host: "pod1" if pod != "pod1" else "pod2" for host, pod in hosts}
        looked.edge.load(*({"op": "put", "domain": host, "pod": pod} for host, pod in moved.items()))
        # Half of them would take longer than this, were it twenty times as slow.
        until(lambda: all(looked.edge.ask(host).pod == pod for host, pod in moved.items()), "all have moved", 5 + 15)


def test_as_the_edge_is_set_by_default_a_host_that_the_certificate_is_not_for_is_a_421_and_no_question(
    tmp_path: Path,
) -> None:
    with looking_up(tmp_path, more={"edge": {}}) as looked:
        edge, (host, pod) = looked.edge, customers(8)[7]
        edge.put("cold.elsewhere.test", "pod1")
        for h2 in (False, True):
            assert edge.ask("cold.elsewhere.test", h2=h2).status == 421
            assert edge.ask("nobody.example.com", h2=h2).status == 404
        answer = edge.ask(host)
        assert (answer.status, answer.pod) == (200, pod)
        until(lambda: looked.at_envoy(host), "it is known")
        assert (edge.ask(host, h2=True).pod, edge.ask("cold.elsewhere.test").status) == (pod, 421)
        assert looked.gds.asked["cold.elsewhere.test"] == 0


def test_envoy_tells_which_hosts_are_busy_and_these_are_asked_again_first(tmp_path: Path) -> None:
    lookup = {"sample": 1.0, "refresh": 2.0, "refresh_rate": 2.0}  # half a minute for all of them
    with looking_up(tmp_path, lookup) as looked:
        for host, pod in customers(200)[:60]:
            looked.edge.becomes(host, pod)
        until(lambda: looked.metric("lookup_known") >= 60, "all are known")
        busy = customers(200)[30][0]
        before = looked.gds.asked.copy()

        def often() -> bool:
            looked.edge.ask(busy)
            return looked.gds.asked[busy] >= before[busy] + 5

        until(often, "the busy host is asked again and again", 60)
        asked = looked.gds.asked - before
        assert asked[busy] > 2 * max(asked[host] for host, _ in customers(200)[50:60])
