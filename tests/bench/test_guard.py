"""Costs that must not grow, as ratios of two measurements made in the same breath: no time here depends on the machine.

What is measured is a change's whole way inside the control plane, from the transaction to a client's ACK, without
sockets: pipeline, resources, cache and stream.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import structlog

from bench.edge import names, pod_name
from xds.cache import Cache
from xds.gds.model import Endpoint, Pod, PutDomain, Snapshot, Transaction
from xds.pipeline import Pace, Pipeline
from xds.protocol.messages import DeltaRequest, DeltaResponse, Node
from xds.protocol.stream import Stream
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge
from xds.resources.routes import RouteTables, route_table
from xds.resources.types import ROUTE

TABLES = 512
PODS = 50
ROUNDS = 7


@pytest.fixture(autouse=True)
def _no_log_lines() -> Iterator[None]:
    """They would be a part of both sides, the same in each."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


class InProcess:
    """A control plane with so many domains and one client that holds every table and ACKs whatever comes."""

    def __init__(self, domains: int) -> None:
        self.cache = Cache()
        self._pipeline = Pipeline(
            EdgeResources(TABLES, timedelta(seconds=1)),
            self.cache,
            Edge(),
            Pace(coalesce=0.0),
            later=lambda seconds, call: None,
            clock=time.monotonic,
        )
        pods = tuple(Pod(pod_name(number), endpoints=(Endpoint("127.0.0.1", 1),)) for number in range(PODS))
        homes = [(name, pod_name(number)) for number, name in enumerate(names(domains))]
        self._pipeline.replace(Snapshot("e", 1, pods, homes))
        self._turn = itertools.cycle(homes[:: max(1, domains // 200)])
        self._stream = Stream(self.cache.view)
        self.cache.watch(self._stream.changed)
        tables = tuple(self.cache.view(ROUTE))
        self._stream.receive(DeltaRequest(ROUTE.url, tables, node=Node("edge-1")))
        self._take()
        self.bytes = 0

    def change(self, count: int) -> float:
        """Moves so many domains one by one; returns the seconds of one."""
        self.bytes = 0
        begun = time.perf_counter()
        for _ in range(count):
            domain, pod = next(self._turn)
            now = self._pipeline.directory.domains[domain]
            put = PutDomain(domain, pod if now != pod else pod_name(int(pod.removeprefix("pod"))))
            self._pipeline.apply(Transaction("e", self._pipeline.directory.revision + 1, (put,)))
            self.bytes += self._take()
        return (time.perf_counter() - begun) / count

    def _take(self) -> int:
        size = 0
        for response in self._stream.responses():
            assert isinstance(response, DeltaResponse)
            size += len(response.encode())
            self._stream.receive(DeltaRequest(ROUTE.url, nonce=response.nonce))
        return size


def ratio(slow: Callable[[], float], fast: Callable[[], float]) -> float:
    """The median of several rounds, in each of which both are measured one after the other."""
    return statistics.median(slow() / fast() for _ in range(ROUNDS))


@pytest.mark.alone
def test_a_change_at_100_000_domains_costs_little_more_than_at_1_000() -> None:
    small, large = InProcess(1_000), InProcess(100_000)
    assert ratio(lambda: large.change(200), lambda: small.change(200)) < 3


def test_a_change_at_100_000_domains_sends_its_table_alone() -> None:
    large = InProcess(100_000)
    large.change(50)
    everything = sum(len(table.any) for table in large.cache.view(ROUTE).values())
    assert large.bytes / 50 < 3 * everything / TABLES


@pytest.mark.alone
def test_splicing_a_table_costs_a_hundredth_of_the_dataclasses() -> None:
    tables = RouteTables(1)
    some = list(names(1_000))
    for number, name in enumerate(some):
        tables.move(name, None, pod_name(number))
    tables.encoded(0)

    def spliced() -> float:
        begun = time.perf_counter()
        for _ in range(20):
            tables.move(some[0], "pod1", "pod2")
            tables.encoded(0)
            tables.move(some[0], "pod2", "pod1")
            tables.encoded(0)
        return (time.perf_counter() - begun) / 40

    def with_dataclasses() -> float:
        begun = time.perf_counter()
        bytes(route_table(0, tables.shares(0)))
        return time.perf_counter() - begun

    assert ratio(with_dataclasses, spliced) > 100
