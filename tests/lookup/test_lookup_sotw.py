"""An Envoy that asks for the state of the world, in lookup mode: what is learned reaches it like any other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from edge_harness import VARIANT, customers, until
from looking_up import Looked, checks, looking_up

DELTA = "api_type: DELTA_GRPC"
KNOWN = iter(customers(200)[20:])


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    asking = {} if VARIANT == "sotw" else {DELTA: "api_type: GRPC"}
    with looking_up(tmp_path_factory.mktemp("sotw"), bootstrap=asking) as looked:
        assert [node["variant"] for node in looked.edge.nodes()] == ["sotw"]
        yield looked
        assert not any(kind["nacked"] for node in looked.edge.nodes() for kind in node["types"])


def test_a_host_that_nobody_knew_is_answered_at_once_and_pushed(looked: Looked) -> None:
    host, pod = next(KNOWN)
    answer = looked.edge.ask(host)
    assert (answer.status, answer.pod) == (200, pod)
    until(lambda: looked.at_envoy(host), f"{host} is at Envoy")
    assert looked.edge.ask("nobody.example.com").status == 404


def test_who_is_at_envoy_is_answered_without_the_control_plane(looked: Looked) -> None:
    host, pod = next(KNOWN)
    looked.learned(host, pod)
    before = checks(looked.edge.system.admin_url)
    assert before > 0
    for _ in range(10):
        answer = looked.edge.ask(host)
        assert (answer.status, answer.pod) == (200, pod)
    assert checks(looked.edge.system.admin_url) == before


def test_a_domain_that_moves_or_goes_takes_its_neighbours_nowhere(looked: Looked) -> None:
    """Each table is sent whole in this way of asking: the others in it must stay."""
    (moving, pod), (going, its_pod), (staying, where) = next(KNOWN), next(KNOWN), next(KNOWN)
    for host, home in ((moving, pod), (going, its_pod), (staying, where)):
        looked.learned(host, home)
    goal = "pod1" if pod != "pod1" else "pod2"
    looked.edge.put(moving, goal)
    looked.edge.becomes(moving, goal)
    looked.edge.delete(going)
    until(lambda: not looked.at_envoy(going), f"{going} is withdrawn", 60)
    looked.edge.becomes(going, "")
    answer = looked.edge.ask(staying)
    assert (answer.status, answer.pod) == (200, where)
    assert looked.at_envoy(staying)
