"""A control plane that knows nothing from before, and a GDS that has nothing: no Envoy loses what it has to that."""

from __future__ import annotations

import shutil
from pathlib import Path

from edge_harness import customers, until
from faulty_edge import FaultyEdge, running_faulty
from operator_desk import store_replaced

DOMAINS = 300


def told(edge: FaultyEdge, replica: int) -> tuple[bool, str]:
    said = edge.ready(replica)
    return said.get("ready", False), said.get("hold", "")


def test_an_envoy_that_comes_over_keeps_its_routes(tmp_path: Path) -> None:
    with running_faulty(tmp_path, replicas=2, domains=DOMAINS) as edge:
        until(lambda: any((tmp_path / "state-0").glob("*.state")), "the first replica has its state on disk")
        for replica in (0, 1):
            edge.kill_replica(replica)
        shutil.rmtree(tmp_path / "state-1")
        store_replaced(edge, [])
        with edge.load_on() as load:
            edge.start_replica(1, wait=False)
            until(lambda: told(edge, 1) == (False, "held"), "an empty GDS isn't served by who knows nothing else")
            assert "guard.allow_empty" in edge.ready(1)["unready"]
            load.wait(300)
            assert edge.nodes_of(1) == []
            edge.start_replica(0)
            until(lambda: told(edge, 0) == (True, "held"), "who has it on disk serves it")
            until(lambda: [node["node"] for node in edge.nodes_of(0)] == ["edge-1"], "the Envoy is led there")
            store_replaced(edge, customers(DOMAINS))
            until(lambda: [told(edge, n) for n in (0, 1)] == [(True, "none")] * 2, "GDS is right again")
        load.prove()
