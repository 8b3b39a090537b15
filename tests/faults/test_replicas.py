"""Control planes beside each other that share nothing but GDS: any of them does, and the loss of one is hardly seen."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from subprocess import PIPE, Popen

import pytest
from edge_harness import until
from faulty_edge import FaultyEdge, running_faulty
from operator_desk import command
from wire_envoy import WireEnvoy, held_by_all

from demo.tied import tied
from xds.resources.types import ENDPOINT, ROUTE

REPLICAS = 3


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyEdge]:
    # A client of one test that is gone isn't waited for in the receipts of the next.
    settings = {"http": {"receipt_grace": 0.0}}
    with running_faulty(tmp_path_factory.mktemp("replicas"), settings, replicas=REPLICAS) as edge:
        yield edge


def where(edge: FaultyEdge, replica: int) -> tuple[str, int]:
    return f"127.0.0.{2 + replica}", edge.system.ports.xds


def serving(edge: FaultyEdge) -> int | None:
    """The replica that the Envoy is connected to; None for none."""
    for replica in range(REPLICAS):
        if edge.ready(replica) and any(node["node"] == "edge-1" for node in edge.nodes_of(replica)):
            return replica
    return None


def level(edge: FaultyEdge) -> None:
    """All replicas hold GDS's revision."""
    until(lambda: len({edge.ready(replica).get("revision") for replica in range(REPLICAS)}) == 1, "equal revisions")


def test_replicas_agree_on_every_version(edge: FaultyEdge) -> None:
    """Also after changes that they saw in other company: one has been restarted since."""
    for domain in edge.where.domains[:5]:
        edge.move(domain, edge.elsewhere(domain))
    edge.kill_replica(2)
    for domain in edge.where.domains[5:10]:
        edge.move(domain, edge.elsewhere(domain))
    edge.start_replica(2)
    level(edge)
    held = []
    for replica in range(REPLICAS):
        with held_by_all(edge.system.folder, where(edge, replica)) as client:
            held.append(client.versions)
    assert held[0] == held[1] == held[2]


def test_an_envoy_that_goes_to_another_replica_is_sent_nothing_that_it_has(edge: FaultyEdge) -> None:
    level(edge)
    with held_by_all(edge.system.folder, where(edge, 0)) as client:
        held = {kind: dict(versions) for kind, versions in client.versions.items()}
        assert sum(map(len, held.values())) > 3_000
    with WireEnvoy(edge.system.folder, where(edge, 1), held=held) as moved:
        until(lambda: any(node["node"] == "wire-1" for node in edge.nodes_of(1)), "it is connected")
        moved.quiet(seconds=1.5)
        # The endpoints, one message a pod, are said again whoever asks: a cluster that was warming when its connection
        # was lost waits for them, and its Envoy doesn't say so.
        assert {kind for kind, _ in moved.sent} <= {ENDPOINT.url}
        before = len(moved.sent)
        domain = edge.where.domains[20]
        edge.move(domain, edge.elsewhere(domain))
        until(lambda: len(moved.sent) > before, "what changes then")
        moved.quiet()
        assert [kind for kind, _ in moved.sent[before:]] == [ROUTE.url]


def test_one_command_tells_of_the_envoys_of_all_of_them(edge: FaultyEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = [f"http://127.0.0.1:{port}" for port in edge.apis]
    monkeypatch.setenv("POINTSMAN_HTTP__REPLICAS", json.dumps(urls))
    domain = edge.where.domains[0]
    until(lambda: serving(edge) is not None, "the Envoy is connected")
    (node,) = command(edge, "nodes")[1]
    assert (node["node"], node["control_plane"]) == ("edge-1", urls[serving(edge) or 0])
    assert command(edge, "nodes", "edge-1")[1][0]["control_plane"] == node["control_plane"]
    assert "edge-9" in command(edge, "nodes", "edge-9")[1]
    code, told = command(edge, "explain", domain)
    assert (code, told["envoys"]["connected"], told["envoys"]["have_it"]) == (0, 1, 1), told
    assert [each["node"] for each in told["envoys"]["shown"]] == ["edge-1"]
    monkeypatch.setenv("POINTSMAN_HTTP__REPLICAS", json.dumps([*urls, "http://127.0.0.1:1"]))
    code, told = command(edge, "explain", domain)
    assert (code, told["envoys"]["connected"]) == (3, 1)
    assert "http://127.0.0.1:1 doesn't answer" in told["notes"][-1]
    code, said = command(edge, "nodes")
    assert code == 1
    assert [each["node"] for each in said] == ["edge-1"]


def test_one_status_tells_of_all_of_them(edge: FaultyEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = [f"http://127.0.0.1:{port}" for port in edge.apis]
    monkeypatch.setenv("POINTSMAN_HTTP__REPLICAS", json.dumps(urls))
    until(lambda: serving(edge) is not None, "the Envoy is connected")
    level(edge)
    until(lambda: command(edge, "status")[0] == 0, "all is well")
    code, told = command(edge, "status")
    assert (code, told["wrong"], told["nodes"]["connected"]) == (0, [], 1), told
    assert [one["url"] for one in told["control_planes"]] == urls
    assert len({one["status"]["revision"] for one in told["control_planes"]}) == 1
    away = next(replica for replica in range(REPLICAS) if replica != serving(edge))
    edge.kill_replica(away)
    try:
        code, told = command(edge, "status")
    finally:
        edge.start_replica(away)
    assert code == 1
    assert [one["error"] is None for one in told["control_planes"]] == [n != away for n in range(REPLICAS)]


def test_a_change_is_followed_at_all_of_them(edge: FaultyEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = [f"http://127.0.0.1:{port}" for port in edge.apis]
    monkeypatch.setenv("POINTSMAN_HTTP__REPLICAS", json.dumps(urls))
    until(lambda: serving(edge) is not None, "the Envoy is connected")
    edge.move(edge.where.domains[26], edge.elsewhere(edge.where.domains[26]))
    edge.arrives(edge.where.domains[26])
    level(edge)
    code, told = command(edge, "history", "-n", "1")
    assert (code, sorted(one["control_plane"] for one in told)) == (0, sorted(urls))
    (revision,) = {one["revision"] for one in told}
    code, told = command(edge, "trace", str(revision))
    assert (code, [one["control_plane"] for one in told]) == (0, urls)
    until(
        lambda: (
            [one["node"] for each in command(edge, "trace", str(revision))[1] for one in each["acks"]] == ["edge-1"]
        ),
        "the Envoy has it",
    )
    assert "no receipt of revision 999999" in command(edge, "trace", "999999")[1]
    monkeypatch.setenv("POINTSMAN_HTTP__REPLICAS", json.dumps([*urls, "http://127.0.0.1:1"]))
    for words in (["history"], ["trace", str(revision)]):
        code, told = command(edge, *words)
        assert (code, bool(told)) == (1, True)


def test_a_watch_tells_each_change_once_and_who_has_it(edge: FaultyEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = [f"http://127.0.0.1:{port}" for port in edge.apis]
    monkeypatch.setenv("POINTSMAN_HTTP__REPLICAS", json.dumps(urls))
    until(lambda: serving(edge) is not None, "the Envoy is connected")
    level(edge)
    away = next(replica for replica in range(REPLICAS) if replica != serving(edge))
    words = ["-m", "xds.cli", "watch", "--json", "--status", "-c", str(edge.system.folder / "pointsman.toml")]
    with Popen(tied([sys.executable, *words]), stdout=PIPE, stderr=PIPE, text=True) as watch:
        assert watch.stdout is not None
        assert watch.stderr is not None
        events = (json.loads(line) for line in watch.stdout)
        heard: set[str] = set()
        while len(heard) < REPLICAS:
            heard.update(next(events)["control_planes"])
        told = []
        for lost in (False, True):
            if lost:
                edge.kill_replica(away)
                assert "trying again" in watch.stderr.readline()
            edge.move(edge.where.domains[25], edge.elsewhere(edge.where.domains[25]))
            revision = None
            for event in events:
                revision = revision or (event["revision"] if event["event"] == "received" else None)
                if event["event"] != "status" and event.get("revision") == revision:
                    told.append((lost, event["event"], event["control_planes"], event.get("lacking")))
                    if event["event"] == "complete":
                        break
        watch.kill()
    edge.start_replica(away)
    rest = [url for url in urls if url != urls[away]]
    for lost, having, lacking in ((False, urls, []), (True, rest, [urls[away]])):
        for event in ("received", "published", "complete"):
            assert [one for one in told if one[:2] == (lost, event)] == [(lost, event, having, lacking)], told
        assert len([one for one in told if one[:2] == (lost, "first_ack")]) == 1, told


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_the_loss_of_a_replica_is_seen_in_seconds(edge: FaultyEdge, how: signal.Signals) -> None:
    """Killed, ended, or there and silent: SIGSTOP leaves connections open, and the kernel accepts new ones."""
    until(lambda: serving(edge) is not None, "the Envoy is connected")
    lost = serving(edge)
    assert lost is not None
    domain = edge.where.domains[30]
    with edge.load_on() as load:
        if how is signal.SIGSTOP:
            os.kill(edge.replica(lost).pid, how)
        else:
            edge.kill_replica(lost, how)
        began = edge.move(domain, edge.elsewhere(domain))
        edge.arrives(domain, patience=20.0)
        took = time.monotonic() - began
        load.wait(30)
        if how is signal.SIGSTOP:
            os.kill(edge.replica(lost).pid, signal.SIGCONT)
        else:
            edge.start_replica(lost)
    load.prove(at_least=30)
    assert took < 15.0
    level(edge)


def test_rolling_restarts_under_load_fail_no_request(edge: FaultyEdge) -> None:
    with edge.load_on() as load:
        for turn in range(2 * REPLICAS):
            replica = turn % REPLICAS
            domain = edge.where.domains[40 + turn]
            assert edge.kill_replica(replica, signal.SIGTERM) == 0
            edge.move(domain, edge.elsewhere(domain))
            edge.start_replica(replica)
            edge.arrives(domain)
    load.prove(at_least=200)
    assert not any(kind["nacked"] for node in edge.nodes() for kind in node["types"])


def test_a_replica_under_a_new_address_is_found_by_name(edge: FaultyEdge) -> None:
    """All the old ones are gone from DNS and then from the world; the Envoy is led to the one that is left."""
    assert edge.names is not None
    edge.names.addresses = ["127.0.0.4"]
    domain = edge.where.domains[60]
    for replica in (0, 1):
        edge.kill_replica(replica)
    edge.move(domain, edge.elsewhere(domain))
    edge.arrives(domain)
    assert serving(edge) == 2
