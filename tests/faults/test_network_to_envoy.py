"""The network between Envoy and its control plane is slow, narrow, cut or silent: no request notices, and what moves
meanwhile arrives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from edge_harness import until
from faulty_edge import FaultyEdge, running_faulty
from tcp_proxy import TcpProxy


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyEdge]:
    with running_faulty(tmp_path_factory.mktemp("network"), proxied=("xds",)) as edge:
        yield edge


def delayed(network: TcpProxy) -> None:
    network.delay = 0.3


def narrow(network: TcpProxy) -> None:
    network.bandwidth = 200_000


def well(network: TcpProxy) -> None:
    network.delay, network.bandwidth, network.silent = 0.0, None, False


@pytest.mark.parametrize("worsen", [delayed, narrow])
def test_through_a_slow_or_narrow_network_moves_arrive(edge: FaultyEdge, worsen: Callable[[TcpProxy], None]) -> None:
    network = edge.proxies["xds"]
    with edge.load_on() as load:
        worsen(network)
        try:
            for domain in edge.where.domains[:10]:
                edge.move(domain, edge.elsewhere(domain))
                edge.arrives(domain)
        finally:
            well(network)
        load.wait(50)
    load.prove()


def test_a_connection_that_is_cut_again_and_again_fails_no_request(edge: FaultyEdge) -> None:
    network = edge.proxies["xds"]
    connections = network.traffic.connections
    with edge.load_on() as load:
        for domain in edge.where.domains[10:20]:
            edge.move(domain, edge.elsewhere(domain))
            network.cut()
            edge.arrives(domain)
        load.wait(50)
    load.prove()
    assert network.traffic.connections >= connections + 5


def test_a_new_envoy_whose_first_responses_are_cut_in_their_middle_has_everything_in_the_end(edge: FaultyEdge) -> None:
    network = edge.proxies["xds"]
    edge.system.kill("envoy")
    network.cut_after = 20_000
    before = network.traffic.connections
    try:
        edge.system.start_envoy()
        until(lambda: network.traffic.connections > before + 2, "it was cut some times")
    finally:
        network.cut_after = None
    network.cut()
    edge.system.wait_envoy()
    for domain in edge.where.domains:
        edge.arrives(domain)


def test_a_network_that_falls_silent_is_given_up_and_what_moved_arrives_after_it(edge: FaultyEdge) -> None:
    network = edge.proxies["xds"]
    with edge.load_on() as load:
        network.silent = True
        try:
            domains = edge.where.domains[30:35]
            for domain in domains:
                edge.put(domain, edge.elsewhere(domain))
            until(lambda: edge.stats(r"control_plane.connected_state")["control_plane.connected_state"] == 0, "seen")
        finally:
            network.silent = False
        for domain in domains:
            edge.where.moves(domain, edge.elsewhere(domain), time.monotonic())
        network.cut()
        for domain in domains:
            edge.arrives(domain)
        load.wait(50)
    load.prove()
