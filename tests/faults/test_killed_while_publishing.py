"""The control plane dies in the middle of its work, again and again: the edge notices nothing but new routes."""

from __future__ import annotations

import random
import threading
import time

import pytest
from edge_harness import until
from faulty_edge import FaultyEdge

KILLS = 50


@pytest.mark.timeout(900)  # a minute alone, and some on a busy machine
def test_fifty_kills_while_publishing_fail_no_request_and_what_differs_is_all_that_is_sent(edge: FaultyEdge) -> None:
    chance, domains, down = random.Random(7), edge.where.domains, edge.proxies["xds"].traffic
    ended = threading.Event()

    def move_on() -> None:
        for turn in range(1_000_000):
            if ended.is_set():
                return
            domain = domains[turn % 50]
            edge.move(domain, edge.elsewhere(domain))
            time.sleep(0.03)

    at_first, killed_connected, published = down.down, 0, 0.0
    moving = threading.Thread(target=move_on)
    with edge.load_on(rate=60) as load:
        moving.start()
        try:
            for turn in range(KILLS):
                if turn % 4 == 0:  # at other times as it comes
                    until(lambda: bool(edge.nodes_of()), "Envoy is connected")
                time.sleep(chance.random() * 0.4)
                killed_connected += bool(edge.nodes_of())
                published += edge.metrics()["publishes_total"]
                edge.kill_replica()
                edge.start_replica()
        finally:
            ended.set()
            moving.join()
        for domain in domains[:50]:
            edge.arrives(domain)
        load.wait(50)
    load.prove(at_least=500)
    assert published > KILLS, "it was killed, but not while it published"
    assert killed_connected > KILLS / 5, "Envoy was hardly ever connected when its control plane was killed"
    assert down.down - at_first < 10 * at_first, "whole states were sent again"


def test_after_a_kill_only_the_table_that_differs_is_sent(edge: FaultyEdge) -> None:
    domain, down = edge.where.domains[99], edge.proxies["xds"].traffic
    edge.kill_replica()
    edge.move(domain, edge.elsewhere(domain))
    before = down.down
    tables = edge.stats("rds.*update_success")
    edge.start_replica()
    edge.arrives(domain)
    time.sleep(0.5)
    grown = sum(edge.stats("rds.*update_success").values()) - sum(tables.values())
    assert grown == 1
    assert down.down - before < 20_000
