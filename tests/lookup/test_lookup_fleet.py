"""More than one at either end: two Envoys at one control plane, two control planes side by side; in both ways of
asking."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from edge_harness import Edge, customers, until
from faulty_edge import FaultyEdge, running_faulty
from looking_up import QUICK, checks, held_by

from demo.system import WITHOUT_TLS, free_ports

SETTINGS = {"gds": {"mode": "lookup"}, "lookup": {**QUICK, "refresh": 30.0}, "edge": {"misdirected": False}}
PLANES = 2


@pytest.fixture(scope="module", params=["delta", "sotw"])
def edge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyEdge]:
    way = request.param
    folder = tmp_path_factory.mktemp(f"fleet-{way}")
    with running_faulty(folder, SETTINGS, replicas=PLANES, sotw=way == "sotw") as edge:
        yield edge
        assert {node["variant"] for node in edge.nodes()} == {way}


def told(edge: FaultyEdge, replica: int, path: str) -> dict[str, Any]:
    """What the control plane's API answers; empty for anything but 200."""
    url = f"http://127.0.0.1:{edge.apis[replica]}/api/v1/{path}"
    answer = WITHOUT_TLS.get(url, timeout=30)
    return dict(answer.json()) if answer.status_code == 200 else {}


def knows_all(edge: FaultyEdge, replica: int) -> bool:
    return all(told(edge, replica, f"domains/{host}") for host in edge.where.domains)


def serving(edge: FaultyEdge) -> int:
    """The control plane that the Envoy is connected to."""

    def found() -> list[int]:
        there = [replica for replica in range(PLANES) if edge.ready(replica)]
        return [one for one in there if any(node["node"] == "edge-1" for node in edge.nodes_of(one))]

    until(lambda: len(found()) == 1, "the Envoy is connected to one control plane")
    return found()[0]


def led_to(edge: FaultyEdge, *replicas: int) -> None:
    """The name that Envoy looks up has these control planes' addresses; when this returns, Envoy knows it."""
    assert edge.names is not None
    wanted = {f"127.0.0.{2 + replica}" for replica in replicas}
    edge.names.addresses = sorted(wanted)
    at = "pointsman:lookup::"

    def is_led() -> bool:
        text = WITHOUT_TLS.get(f"{edge.system.admin_url}/clusters").text
        lines = [line.removeprefix(at) for line in text.splitlines() if line.startswith(at)]
        return {line.partition(":")[0] for line in lines if line.startswith("127.0.0.")} - {"127.0.0.1"} == wanted

    until(is_led, f"Envoy is led to {wanted}")


def forgotten(edge: FaultyEdge, replica: int) -> None:
    """It begins anew, without what it learned."""
    edge.kill_replica(replica)
    for file in (edge.system.folder / f"state-{replica}").iterdir():
        if file.is_file() and file.name != "token":
            file.unlink()
    edge.start_replica(replica)


def complete(edge: FaultyEdge, replica: int) -> bool:
    """The newest revision of this control plane is at the one Envoy that it has."""
    receipt = told(edge, replica, f"revisions/{edge.ready(replica)['revision']}?wait=10")
    return bool(receipt["complete"] and receipt["envoys"]["acked"] == 1)


def nacked(edge: FaultyEdge) -> list[dict[str, Any]]:
    return [node for node in edge.nodes() if any(kind["nacked"] for kind in node["types"])]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_envoy_that_moves_to_a_control_plane_that_knows_less_fails_no_request(
    edge: FaultyEdge, how: signal.Signals
) -> None:
    """The address of the one that is gone stays under the name: half of the questions come to it first."""
    old = serving(edge)
    new = 1 - old
    led_to(edge, old)
    for host in edge.where.domains:
        edge.becomes(host, edge.where.pod(host))
    until(lambda: knows_all(edge, old), "the first one knows all")
    forgotten(edge, new)
    before = edge.ready(new)["revision"]
    assert edge.metrics(new)["lookup_known"] == 0
    led_to(edge, old, new)
    with edge.load_on() as load:
        edge.kill_replica(old, how)
        until(lambda: serving(edge) == new, "the Envoy has moved")
        until(lambda: knows_all(edge, new), "all that are asked for are learned by the other one", 60)
        load.wait(100)
    load.prove()
    assert edge.ready(new)["revision"] > before
    until(lambda: complete(edge, new), "the newest revision is at the Envoy")
    assert {*edge.where.domains} <= held_by(edge.system.admin_url)
    assert not nacked(edge)
    edge.start_replica(old)
    assert knows_all(edge, old), "what it learned is on disk"


def test_what_either_of_two_envoys_asks_for_reaches_both(edge: FaultyEdge) -> None:
    led_to(edge, serving(edge))
    (admin,) = free_ports(1)
    other, urls = edge.start_envoy("edge-2", admin), [edge.system.admin_url, f"http://127.0.0.1:{admin}"]
    try:
        until(lambda: {"edge-1", "edge-2"} <= {node["node"] for node in edge.nodes()}, "both are connected")
        until(lambda: serves(urls[1]), "the other one serves")
        before = [checks(url) for url in urls]
        learned: list[str] = []
        for host, pod in customers(1_000)[500:600]:
            # On a new connection, which either may take.
            with contextlib.closing(Edge(edge.system, edge.pods)) as client:
                answer = client.ask(host)
            assert (answer.status, answer.pod) == (200, pod)
            learned.append(host)
            if all(checks(url) >= least + 3 for url, least in zip(urls, before, strict=True)):
                break
        else:
            pytest.fail("one of them was hardly asked")
        until(lambda: all({*learned} <= held_by(url) for url in urls), "all are at both")
        assert not nacked(edge)
    finally:
        edge.system.parts.pop("edge-2")
        other.stop()


def serves(admin_url: str) -> bool:
    """The Envoy of this admin interface is live; its workers accept connections."""
    with contextlib.suppress(httpx.HTTPError):
        return WITHOUT_TLS.get(f"{admin_url}/ready").status_code == 200
    return False
