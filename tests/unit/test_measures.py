"""What is counted and timed as it happens, and the numbers that are kept so that a scrape needn't count."""

from __future__ import annotations

import random
from collections import Counter

from test_pipeline import World

from xds.gds.model import Change, DeleteDomain, Pod, PutDomain, PutPod, Snapshot
from xds.http.proxies import VERSIONS, proxy_metrics
from xds.protocol.state import TypeState
from xds.server.streams import NodeState


def sample(world: World, name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in world.pipeline._measures.collect()
        for sample in family.samples
        if sample.name == f"pointsman_{name}" and sample.labels == labels
    ]
    assert len(found) == 1, f"{name}{labels}: {found}"
    return found[0]


def node(name: str, agent: str = "envoy 1.40.0", **counts: int) -> NodeState:
    return NodeState(name, "edge", agent, "ipv4:127.0.0.1:5", name, "delta", 1.0, [TypeState("route", **counts)])


def values(name: str, *nodes: NodeState) -> dict[str, float]:
    """One family of the proxies' metrics, by its label."""
    (family,) = [family for family in proxy_metrics(nodes) if family.name == name]
    return {",".join(sample.labels.values()): sample.value for sample in family.samples}


def test_the_domains_of_each_pod_are_known_without_counting_them() -> None:
    world, chance = World(), random.Random(7)
    pods = [f"pod{n}" for n in range(1, 5)]
    world.pipeline.replace(Snapshot("e", 1, tuple(map(Pod, pods)), [(f"d{n}.test", "pod1") for n in range(50)]))
    for size in (1, 1, 7, 2_500, 1, 40, 3_000):
        changes: list[Change] = [
            PutDomain(f"d{chance.randrange(4_000)}.test", chance.choice([*pods, "unknown"]))
            if chance.random() < 0.8
            else DeleteDomain(f"d{chance.randrange(4_000)}.test")
            for _ in range(size)
        ]
        world.change(*changes)
        world.pass_by(chance.choice([0.0, 1.0]))
        assert +Counter(world.pipeline.directory.residents) == Counter(world.pipeline.directory.domains.values())
    world.pipeline.replace(Snapshot("f", 1, (Pod("pod9"),), [("only.test", "pod9")]))
    assert +Counter(world.pipeline.directory.residents) == {"pod9": 1}


def test_a_record_that_a_search_takes_away_counts_for_its_pod_no_more() -> None:
    world = World()
    world.start("a.test", "b.test")
    world.pipeline.publish_now(world.pipeline.directory.withhold({("domain", "a.test"): None}, "rejected"))
    assert +Counter(world.pipeline.directory.residents) == {"pod1": 1}


def test_a_burst_is_debounced_from_its_first_change_on() -> None:
    world = World()
    world.start()
    world.change(PutDomain("a.test", "pod1"))
    before = sample(world, "debounce_time_seconds_sum")
    world.change(PutDomain("b.test", "pod1"))
    world.pass_by(0.002)
    world.change(PutDomain("c.test", "pod1"))
    world.pass_by(1.0)
    assert sample(world, "debounce_time_seconds_count") == 2
    assert round(sample(world, "debounce_time_seconds_sum") - before, 6) == 0.005


def test_what_went_and_came_back_does_not_count_as_waiting() -> None:
    world = World()
    world.start()
    world.change(PutDomain("a.test", "pod1"))
    world.change(PutDomain("b.test", "pod1"))
    world.change(DeleteDomain("b.test"))
    world.pass_by(100.0)
    world.change(PutDomain("b.test", "pod1"))
    assert sample(world, "debounce_time_seconds_sum") == 0


def test_each_publish_is_counted_by_what_it_is_of() -> None:
    world = World()
    world.start("a.test")
    assert sample(world, "push_triggers_total", type="snapshot") == 1
    world.change(PutDomain("a.test", "pod2"))
    world.pass_by(1.0)
    assert sample(world, "push_triggers_total", type="domain") == 1
    assert sample(world, "push_triggers_total", type="pod") == 0
    world.change(PutPod(Pod("pod3")))
    assert sample(world, "push_triggers_total", type="pod") == 1


def test_envoys_are_counted_by_version_each_once_whatever_its_streams() -> None:
    nodes = node("edge-1"), node("edge-1"), node("edge-2"), node("edge-3", "envoy 1.36.4"), node("edge-4", "who knows")
    assert values("pointsman_xds", *nodes) == {"1.40.0": 2, "1.36.4": 1, "unknown": 1}


def test_envoys_can_not_choose_how_many_versions_there_are() -> None:
    told = values("pointsman_xds", *(node(f"edge-{n}", f"envoy 1.{n}.0") for n in range(1_000)))
    assert len(told) == VERSIONS + 1
    assert told["other"] == 1_000 - VERSIONS


def test_an_envoy_that_rejects_something_is_counted_until_it_is_sent_something_else() -> None:
    assert values("pointsman_xds_rejecting", node("edge-1", nacked=3))["route"] == 0
    assert values("pointsman_xds_rejecting", node("edge-1", rejecting=2), node("edge-2"))["route"] == 1
