"""A record that passes every check but Envoy's own is found, set aside, and harms nobody else."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from edge_harness import Edge, until

from demo.system import LOOPBACK, WITHOUT_TLS
from gds_mock.opening import open_store
from gds_mock.values import decode_pod
from xds.isolator import PATIENCE as PATIENCE_OF_A_SEARCH
from xds.isolator import REST

STAND_IN = "192.0.2.66"
POISON = "fe80::1%no-such-zone"
"""An IPv6 address with a zone: well formed, and taken only by an Envoy whose machine has such a network interface."""


def test_a_pod_that_envoy_rejects_is_set_aside_and_what_came_with_it_goes_through(edge: Edge) -> None:
    edge.system.kill("gds")
    good = [f"good{n}" for n in range(6)]
    path = edge.system.folder / "gds.sqlite"
    with open_store(str(path)) as store:
        for name in [*good[:3], "poisoned", *good[3:]]:
            address, port = (STAND_IN, 80) if name == "poisoned" else (LOOPBACK, edge.pods["pod2"])
            body = {"name": name, "endpoints": [{"address": address, "port": port}]}
            store.put_pod(decode_pod(json.dumps(body).encode()))
            store.put_domain(f"{name}.example.com", name)
    # The reference GDS would refuse it; another one may not.
    with sqlite3.connect(path) as db:
        db.execute("UPDATE pods SET body = replace(body, ?, ?)", (STAND_IN, POISON))
        db.execute("UPDATE changes SET payload = replace(payload, ?, ?)", (STAND_IN, POISON))
    db.close()
    edge.system.start_gds()
    edge.system.wait_gds()
    for name in good:
        edge.becomes(f"{name}.example.com", "pod2")
    # A search that gets no answer in time is made again after a rest.
    until(lambda: ("pod", "poisoned") in aside(edge), "the pod is set aside", 2 * PATIENCE_OF_A_SEARCH + 2 * REST)
    assert list(aside(edge)) == [("pod", "poisoned"), ("domain", "poisoned.example.com")]
    assert POISON in aside(edge)["pod", "poisoned"]
    assert "Envoy edge-1 rejects it" in aside(edge)["pod", "poisoned"]
    edge.becomes("poisoned.example.com", "")
    (node,) = edge.nodes()
    (endpoints,) = [kind for kind in node["types"] if kind["type"] == "endpoint"]
    assert POISON in endpoints["last_nack"]
    assert metric(edge, "pointsman_records_set_aside") == 2
    assert metric(edge, 'pointsman_responses_nacked_total{node="edge-1",type="endpoint"}') == endpoints["nacked"]

    until(lambda: receipt(edge)["state"] == "set_aside", "its receipt says so")
    assert [one["name"] for one in receipt(edge)["refused"]] == ["poisoned"]
    assert not receipt(edge)["complete"]
    assert any(POISON in nack["reason"] for one in receipts(edge) for nack in one["nacks"])

    edge.put("after.example.com", "good5")
    edge.becomes("after.example.com", "pod2")
    assert edge.nodes()[0]["types"][1]["nacked"] == endpoints["nacked"]
    edge.put_pod("poisoned", edge.pods["pod3"])
    edge.becomes("poisoned.example.com", "pod3")
    assert aside(edge) == {}
    until(lambda: receipt(edge)["complete"], "its receipt, too")


def receipts(edge: Edge) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = WITHOUT_TLS.get(f"{edge.system.api_url}/api/v1/revisions").json()["items"]
    return found


def receipt(edge: Edge) -> dict[str, Any]:
    """That of the pod's first record."""
    pod = {"kind": "pod", "name": "poisoned"}
    return [one for one in receipts(edge) if any(pod.items() <= each.items() for each in one["first_changes"])][-1]


def aside(edge: Edge) -> dict[tuple[str, str], str]:
    records = WITHOUT_TLS.get(f"{edge.system.api_url}/api/v1/set-aside").json()["items"]
    return {(record["kind"], record["name"]): record["reason"] for record in records}


def metric(edge: Edge, name: str) -> float:
    lines = WITHOUT_TLS.get(f"{edge.system.api_url}/metrics").text.splitlines()
    (value,) = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")]
    return value
