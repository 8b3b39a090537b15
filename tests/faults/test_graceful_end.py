"""SIGTERM: the Envoys are sent away in order, and it is over in time whatever they do."""

from __future__ import annotations

import os
import signal
import threading
import time

import grpc
from edge_harness import until
from faulty_edge import FaultyEdge
from wire_envoy import WireEnvoy, held_by_all

from demo.system import LOOPBACK

DRAIN = 2.0
"""Seconds: the setting xds.drain as it is unless set otherwise."""
ANNOUNCE = 6.0
"""Seconds in which a change arrives, on a busy machine too."""


def end(edge: FaultyEdge) -> tuple[int, float]:
    """The exit code, and how long it took."""
    began = time.monotonic()
    return edge.kill_replica(0, signal.SIGTERM), time.monotonic() - began


def test_streams_end_without_complaint_and_the_process_with_nought(edge: FaultyEdge) -> None:
    where = (LOOPBACK, edge.system.ports.xds)
    with edge.load_on() as load, held_by_all(edge.system.folder, where) as client:
        code, took = end(edge)
        until(lambda: client.ended is not None, "the stream has ended")
        assert client.ended is grpc.StatusCode.OK
        edge.start_replica()
        load.wait(20)
    load.prove(at_least=30)
    assert code == 0
    assert took < DRAIN + 5.0


def test_it_says_first_that_it_ends_then_its_streams_end_and_then_it_does(edge: FaultyEdge) -> None:
    settings = edge.system.folder / "pointsman-0.toml"
    before = settings.read_text()
    settings.write_text(before.replace("[xds]\n", f"[xds]\nannounce = {ANNOUNCE}\n"))
    end(edge)
    process = edge.start_replica()
    settings.write_text(before)
    at: dict[str, float] = {}
    with held_by_all(edge.system.folder, (LOOPBACK, edge.system.ports.xds)) as client:
        os.kill(process.pid, signal.SIGTERM)
        until(lambda: "about to end" in edge.ready().get("unready", ""), "it is announced")
        at["announced"] = time.monotonic()
        domain = edge.where.domains[0]
        edge.move(domain, edge.elsewhere(domain))
        edge.arrives(domain)
        assert client.ended is None, "until then it works on"
        until(lambda: client.ended is not None, "the streams end")
        at["drained"] = time.monotonic()
        assert client.ended is grpc.StatusCode.OK
    assert process.stop() == 0
    at["ended"] = time.monotonic()
    edge.start_replica()
    assert sorted(at, key=at.__getitem__) == ["announced", "drained", "ended"]


def test_many_streams_do_not_end_all_at_once(edge: FaultyEdge) -> None:
    where = (LOOPBACK, edge.system.ports.xds)
    clients = [WireEnvoy(edge.system.folder, where, f"wire-{number}", tables=1) for number in range(8)]
    for client in clients:
        client.__enter__()
        client.wait()
    ended: dict[int, float] = {}
    stopping = threading.Thread(target=end, args=(edge,))
    stopping.start()
    until(lambda: _note(clients, ended) == len(clients), "all have ended")
    stopping.join()
    for client in clients:
        client.__exit__()
    assert max(ended.values()) - min(ended.values()) > DRAIN / 4
    assert {client.ended for client in clients} == {grpc.StatusCode.OK}
    edge.start_replica()


def _note(clients: list[WireEnvoy], ended: dict[int, float]) -> int:
    for number, client in enumerate(clients):
        if client.ended is not None:
            ended.setdefault(number, time.monotonic())
    return len(ended)


def test_an_envoy_that_does_not_read_does_not_hold_it_up(edge: FaultyEdge) -> None:
    where = (LOOPBACK, edge.system.ports.xds)
    with WireEnvoy(edge.system.folder, where, "deaf", reads=False):
        until(lambda: any(node["node"] == "deaf" for node in edge.nodes()), "it is connected")
        code, took = end(edge)
    edge.start_replica()
    assert code == 0
    assert took < DRAIN + 5.0


def test_it_ends_also_before_it_has_a_directory(edge: FaultyEdge) -> None:
    end(edge)
    edge.proxies["gds"].refuse()
    process = edge.start_replica(wait=False)
    process.wait_until(lambda: bool(edge.ready()))
    with WireEnvoy(edge.system.folder, (LOOPBACK, edge.system.ports.xds), "early"):
        time.sleep(0.5)
        code, took = end(edge)
    edge.proxies["gds"].accept()
    edge.start_replica()
    assert code == 0
    assert took < DRAIN + 5.0
