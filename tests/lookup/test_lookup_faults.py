"""GDS away, slow or out of its mind, the control plane away: who is known notices nothing, and nothing is forgotten."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from edge_harness import Edge, customers, until
from looking_up import Looked, looking_up
from steady_load import Load
from whereabouts import Whereabouts

from demo.system import WITHOUT_TLS

ALL = customers(200)
KNOWN = ALL[:60]
COLD = iter(ALL[60:])
PATIENCE = 2.0
SETTINGS = {"timeout": 1.0, "patience": PATIENCE, "failures": 3, "grace": 6.0}
SLOW = 2.0
LATE = 8.0
"""Seconds in which a cold request is answered, on a busy machine."""


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    guard = {"minimum": 20}
    with looking_up(tmp_path_factory.mktemp("faults"), SETTINGS, {"guard": guard}) as looked:
        for host, pod in KNOWN:
            looked.edge.becomes(host, pod)
        until(lambda: all(looked.knows(host) for host, _ in KNOWN), "all are known")
        yield looked


def all_is_well(edge: Edge) -> None:
    """Every known customer is answered by its pod."""
    answers = {host: edge.ask(host) for host, _ in KNOWN}
    assert {host: (one.status, one.pod) for host, one in answers.items()} == {host: (200, pod) for host, pod in KNOWN}


def turned_away(edge: Edge, host: str) -> None:
    """A cold host is answered 503 in bounded time, and when to try again."""
    begun = time.monotonic()
    answer = edge.ask(host)
    assert (answer.status, answer.headers.get("retry-after")) == (503, "1")
    assert time.monotonic() - begun < PATIENCE + LATE


def test_gds_away_turns_cold_hosts_away_and_withdraws_nobody(looked: Looked) -> None:
    edge, (host, pod) = looked.edge, next(COLD)
    looked.gds.go()
    try:
        for _ in range(5):
            turned_away(edge, host)
        until(lambda: looked.metric("lookup_breaker", state="closed") == 0, "GDS has a pause")
        end = time.monotonic() + 8  # refresh and grace are over by then
        while time.monotonic() < end:
            all_is_well(edge)
        assert looked.metric("lookup_missing") == 0
        assert looked.metric("domains") >= len(KNOWN)
    finally:
        looked.gds.come()
    edge.becomes(host, pod)


def test_gds_that_answers_with_errors_is_taken_for_away(looked: Looked) -> None:
    edge, (host, pod) = looked.edge, next(COLD)
    looked.gds.broken = True
    try:
        turned_away(edge, host)
        all_is_well(edge)
    finally:
        looked.gds.broken = False
    edge.becomes(host, pod)


def test_a_host_that_gds_cannot_answer_for_shuts_gds_for_nobody(tmp_path: Path) -> None:
    """GDS has time enough here: on a busy machine, an answer that comes late would shut it."""
    host, pod = ALL[60]
    with looking_up(tmp_path, {"timeout": 30.0, "patience": 40.0, "failures": 3}) as looked:
        edge, opened = looked.edge, looked.metric("lookup_breaker_opened_total")
        looked.gds.says["odd.example.com"] = "no pod's name"
        for _ in range(5):
            turned_away(edge, "odd.example.com")
            time.sleep(0.4)  # it is asked for again after the pause
        assert looked.gds.asked["odd.example.com"] > 3
        answer = edge.ask(host)
        assert (answer.status, answer.pod) == (200, pod)
        assert looked.metric("lookup_breaker_opened_total") == opened


def test_gds_slow_keeps_nobody_who_is_known_waiting(looked: Looked) -> None:
    edge, (host, pod) = looked.edge, next(COLD)
    looked.gds.delay = 3.0
    try:
        turned_away(edge, host)
        all_is_well(edge)
    finally:
        looked.gds.delay = 0.0
    edge.becomes(host, pod)


@pytest.mark.alone
def test_gds_slow_by_two_seconds_leaves_known_customers_as_they_were_while_others_come_for_the_first_time(
    tmp_path: Path,
) -> None:
    known, new = ALL[:40], ALL[40:72]
    with looking_up(tmp_path, {"refresh": 5.0}) as looked, ThreadPoolExecutor(8) as visitors:
        edge = looked.edge
        for host, pod in known:
            edge.becomes(host, pod)
        until(lambda: looked.at_envoy(*dict(known)), "all are known")
        load = Load(edge.system.ports.edge_https, edge.system.tls(), Whereabouts(dict(known)), rate=60)
        looked.gds.delay = SLOW
        with load:
            first = dict(zip([host for host, _ in new], visitors.map(edge.ask, [host for host, _ in new]), strict=True))
            load.wait(300)
        load.prove()
        # Whoever waits for GDS waits for twice as long.
        assert load.count.late <= 0.01 * load.count.asked
        assert {host: (one.status, one.pod) for host, one in first.items()} == {host: (200, pod) for host, pod in new}
        assert looked.metric("lookup_breaker", state="closed") == 1


def test_the_control_plane_away_turns_cold_hosts_away_and_what_it_knew_it_knows_again(looked: Looked) -> None:
    edge, (host, pod) = looked.edge, next(COLD)
    edge.system.kill("pointsman", signal.SIGKILL)
    all_is_well(edge)
    turned_away(edge, host)
    looked.gds.go()
    try:
        edge.system.start_control_plane()
        edge.system.wait_control_plane()
        assert all(looked.knows(one) for one, _ in KNOWN)
        until(lambda: len(edge.nodes()) > 0, "Envoy is back")
        all_is_well(edge)
        assert looked.metric("lookup_known") >= len(KNOWN)
    finally:
        looked.gds.come()
    edge.becomes(host, pod)
    other = "pod1" if KNOWN[0][1] != "pod1" else "pod2"
    edge.put(KNOWN[0][0], other)
    edge.becomes(KNOWN[0][0], other)
    edge.put(*KNOWN[0])
    edge.becomes(*KNOWN[0])


def test_a_gds_that_has_lost_its_customers_takes_none_from_the_edge(looked: Looked) -> None:
    edge = looked.edge
    edge_has = int(looked.metric("domains"))
    lost = [host for host, _ in KNOWN[:40]]
    looked.gds.says.update(dict.fromkeys(lost))
    until(lambda: looked.metric("held", reason="removed") == 1, "the guard holds it", 60)
    all_is_well(edge)
    assert looked.metric("domains") == edge_has
    assert looked.metric("lookup_gds_doubted") == 1
    looked.gds.says.clear()
    until(lambda: looked.metric("held", reason="removed") == 0, "the hold ends by itself", 60)
    all_is_well(edge)


def test_a_gds_that_knows_nobody_since_the_start_is_told_of(looked: Looked) -> None:
    edge = looked.edge
    edge.system.kill("pointsman", signal.SIGKILL)
    looked.gds.says.update(dict.fromkeys(host for host, _ in ALL))
    try:
        edge.system.start_control_plane()
        edge.system.wait_control_plane()
        until(lambda: looked.metric("lookup_gds_knows_nobody") == 1, "GDS knows nobody", 60)
        status = pointsman(looked, "status")
        assert status.returncode == 3
        assert "GDS has known no host since the start" in status.stdout
        all_is_well(edge)
    finally:
        looked.gds.says.clear()
    until(lambda: looked.metric("lookup_gds_knows_nobody") == 0, "it knows somebody", 60)
    until(lambda: looked.metric("lookup_missing") == 0, "all are asked anew", 60)
    assert "GDS has known no host" not in pointsman(looked, "status").stdout


def test_an_order_has_a_move_at_the_edge_at_once(tmp_path: Path) -> None:
    host, pod = ALL[0]
    other = "pod1" if pod != "pod1" else "pod2"
    with looking_up(tmp_path, {"refresh": 3600.0}) as looked:
        looked.learned(host, pod)
        until(lambda: looked.gds.asked[host] > 1, "its first turn in the background is over")
        looked.edge.put(host, other)
        assert looked.edge.ask(host).pod == pod
        assert refreshed(looked, host) == f"{host}: {pod} → {other}"
        looked.edge.becomes(host, other)
        looked.edge.delete(host)
        assert refreshed(looked, host) == f"{host}: {other} → not routed"
        looked.edge.becomes(host, "")
        denied = WITHOUT_TLS.post(f"{looked.edge.system.api_url}/api/v1/domains/{host}/refresh", json={})
        assert denied.status_code == 401


def test_an_order_whose_move_is_held_back_fails_and_says_so(tmp_path: Path) -> None:
    """The job that moves customers must not take them for moved while the edge still has them where they were."""
    hosts = [host for host, pod in ALL if pod != "pod1"][:3]
    with looking_up(tmp_path, {"refresh": 3600.0}, {"guard": {"minimum": 3, "share": 0.001}}) as looked:
        homes = dict(ALL)
        for host in hosts:
            looked.learned(host, homes[host])
        for host in hosts:
            looked.edge.put(host, "pod1")
        for host in hosts[:2]:
            assert refreshed(looked, host) == f"{host}: {homes[host]} → pod1"
        held = pointsman(looked, "refresh", hosts[2])
        assert (held.returncode, looked.edge.ask(hosts[2]).pod) == (1, homes[hosts[2]])
        assert f"GDS says pod1, and that is held, the edge stays with {homes[hosts[2]]}" in held.stderr
        assert "guard.minimum" in held.stderr
        assert pointsman(looked, "hold", "release").returncode == 0
        assert refreshed(looked, hosts[2]) == f"{hosts[2]}: pod1"
        looked.edge.becomes(hosts[2], "pod1")


def refreshed(looked: Looked, host: str) -> str:
    """What ``pointsman refresh`` says."""
    done = pointsman(looked, "refresh", host)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def pointsman(looked: Looked, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xds.cli", *words, "-c", str(looked.folder / "pointsman.toml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_an_order_for_a_name_with_other_letters_than_ascii_asks_for_it_as_clients_send_it(tmp_path: Path) -> None:
    with looking_up(tmp_path) as looked:
        looked.edge.put("xn--mller-kva.example.com", "pod2")
        assert refreshed(looked, "m\u00fcller.example.com") == "xn--mller-kva.example.com: not routed \u2192 pod2"
        assert looked.edge.ask("xn--mller-kva.example.com").pod == "pod2"
