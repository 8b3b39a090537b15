"""Each part goes and comes back: traffic goes on as it can, and what changed meanwhile arrives."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from edge_harness import VARIANT, Edge, customers, until


@contextmanager
def no_request_fails(edge: Edge, *hosts: str) -> Iterator[None]:
    """A steady load of requests to ``hosts`` while the block runs; each must be answered with 200."""
    stop = threading.Event()
    failures: list[str] = []
    asked = [0]

    def load() -> None:
        while not stop.is_set():
            for host in hosts:
                try:
                    status = edge.ask(host).status
                except Exception as error:
                    failures.append(repr(error))
                else:
                    asked[0] += 1
                    if status != 200:
                        failures.append(f"{host}: {status}")
            time.sleep(0.01)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield
        until(lambda: asked[0] + len(failures) > 20, "requests enough to prove something")
    finally:
        stop.set()
        thread.join()
    assert not failures, f"{len(failures)} of {asked[0]}: {failures[:5]}"
    assert asked[0] > 20


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_control_plane_restarts_under_traffic(edge: Edge, how: signal.Signals) -> None:
    domain = f"cp-{how.name.lower()}.example.com"
    edge.put(domain, "pod1")
    edge.becomes(domain, "pod1")
    with no_request_fails(edge, domain, "t0.example.com"):
        edge.system.kill("pointsman", how)
        edge.put(domain, "pod2")
        time.sleep(1)
        edge.system.start_control_plane()
        edge.becomes(domain, "pod2")
    until(lambda: len(edge.nodes()) == 1, "one stream")
    sent = {kind["type"]: kind["nacked"] for kind in edge.nodes()[0]["types"]}
    assert set(sent.values()) == {0}


@pytest.mark.skipif(VARIANT == "sotw", reason="in the state of the world a client can't say what it holds")
def test_a_control_plane_that_comes_back_sends_only_what_differs(edge: Edge) -> None:
    edge.put("differs.example.com", "pod1")
    edge.becomes("differs.example.com", "pod1")
    before = edge.stats("update_success")
    edge.system.kill("pointsman")
    edge.put("differs.example.com", "pod2")
    edge.system.start_control_plane()
    edge.becomes("differs.example.com", "pod2")
    after = edge.stats("update_success")
    grown = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
    tables = {name: count for name, count in grown.items() if ".rds." in name}
    assert sum(tables.values()) == 1, grown


def test_gds_restarts_and_its_changes_arrive(edge: Edge) -> None:
    edge.put("gds.example.com", "pod1")
    edge.becomes("gds.example.com", "pod1")
    with no_request_fails(edge, "gds.example.com"):
        edge.system.kill("gds", signal.SIGKILL)
        time.sleep(1)
        edge.system.start_gds()
        edge.system.wait_gds()
        edge.put("gds.example.com", "pod3")
        edge.becomes("gds.example.com", "pod3")


def test_a_replaced_gds_is_compared_and_only_differences_go_on(edge: Edge) -> None:
    """Another epoch: the store was made anew from the same map, so a domain put since is gone."""
    edge.put("lost.example.com", "pod1")
    edge.becomes("lost.example.com", "pod1")
    system = edge.system
    with no_request_fails(edge, "t0.example.com"):
        system.kill("gds")
        for file in system.folder.glob("gds.sqlite*"):
            file.unlink()
        system.load(
            customers(200),
            [
                {"name": name, "datacenter": "dc1", "endpoints": [{"address": "127.0.0.1", "port": port}]}
                for name, port in edge.pods.items()
            ],
        )
        system.start_gds()
        system.wait_gds()
        edge.becomes("lost.example.com", "")
        edge.put("found.example.com", "pod2")
        edge.becomes("found.example.com", "pod2")


def test_envoy_restarts_and_has_everything_again(edge: Edge) -> None:
    edge.put("envoy.example.com", "pod1")
    edge.becomes("envoy.example.com", "pod1")
    edge.system.kill("envoy")
    edge.put("envoy.example.com", "pod2")
    edge.system.start_envoy()
    edge.system.wait_envoy()
    edge.becomes("envoy.example.com", "pod2")
    assert edge.ask("t0.example.com").pod == "pod1"
    until(lambda: len(edge.nodes()) == 1, "one stream")


def test_an_envoy_that_starts_without_a_control_plane_gets_everything_once_it_is_there(edge: Edge) -> None:
    edge.system.kill("pointsman")
    edge.system.kill("envoy")
    edge.system.start_envoy()
    time.sleep(1)
    edge.system.start_control_plane()
    edge.system.wait_envoy()
    edge.becomes("t0.example.com", "pod1")


def test_a_control_plane_without_gds_does_not_empty_an_envoy_that_is_full(edge: Edge) -> None:
    with no_request_fails(edge, "t0.example.com"):
        edge.system.kill("gds")
        edge.system.kill("pointsman")
        edge.system.start_control_plane()
        time.sleep(4)
        edge.system.start_gds()
        edge.system.wait_gds()
        edge.system.wait_control_plane()
        edge.put("after-gds.example.com", "pod2")
        edge.becomes("after-gds.example.com", "pod2")
