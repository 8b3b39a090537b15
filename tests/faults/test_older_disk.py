"""A control plane whose disk is older than what Envoy brings, while GDS is away: Envoy keeps what it has."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_harness import until
from faulty_edge import FaultyEdge, running_faulty

MOVED = 5


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyEdge]:
    with running_faulty(tmp_path_factory.mktemp("older")) as edge:
        yield edge


def taken_back(edge: FaultyEdge) -> Path:
    """Ends the control plane and keeps a copy of its state, as a machine does that isn't used for a while; it is
    started again."""
    edge.kill_replica(0, signal.SIGTERM)
    copy = edge.system.folder / "older"
    shutil.copytree(edge.system.folder / "state-0", copy)
    edge.start_replica(0)
    return copy


def test_what_moved_since_the_disk_was_written_stays_moved_until_gds_says_otherwise(edge: FaultyEdge) -> None:
    older = taken_back(edge)
    domains = edge.where.domains[:MOVED]
    for domain in domains:
        edge.move(domain, edge.elsewhere(domain))
    for domain in domains:
        edge.arrives(domain)
    edge.put("new.example.com", "pod1")
    edge.becomes("new.example.com", "pod1")
    with edge.load_on() as load:
        edge.system.kill("gds", signal.SIGKILL)
        edge.kill_replica(0)
        shutil.rmtree(edge.system.folder / "state-0")
        older.rename(edge.system.folder / "state-0")
        edge.start_replica(0)
        until(lambda: edge.ready(0)["envoys_spared"] == 1, "Envoy is back, with newer than the disk's")
        assert edge.ready(0)["from_disk"] is True
        assert edge.metrics(0)["xds_spared"] == 1
        load.wait(100)
        assert edge.ask("new.example.com").pod == "pod1"
        edge.system.start_gds()
        edge.system.wait_gds()
        until(lambda: edge.ready(0)["envoys_spared"] == 0, "GDS has spoken")
        load.wait(100)
    load.prove()
    edge.move(domains[0], edge.elsewhere(domains[0]))
    edge.arrives(domains[0])
    assert not any(kind["nacked"] for node in edge.nodes_of(0) for kind in node["types"])
