"""A fleet that comes back with what it held: looked at once for all, and each is still sent what it lacks."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Mapping

import pytest
from protocol_peer import NODE, Peer, publish

from xds.cache import Cache
from xds.protocol.held import MANY, Whole, whole
from xds.protocol.messages import DeltaRequest
from xds.protocol.stream import Stream
from xds.resources.types import CLUSTER, ROUTE, SECRET, Resource, ResourceType

CONTENTS = {f"c{number}": "1" for number in range(2 * MANY)}


@pytest.fixture
def cache() -> Cache:
    cache = Cache()
    publish(cache, CLUSTER, **CONTENTS)
    publish(cache, ROUTE, **CONTENTS)
    return cache


def held(cache: Cache, kind: ResourceType, **otherwise: str) -> Whole:
    return whole({name: one.version for name, one in cache.view(kind).items()} | otherwise)


def returns(cache: Cache, kind: ResourceType, versions: Mapping[str, str]) -> list[str]:
    """What one that comes back with ``versions`` is sent."""
    peer = Peer(cache)
    names = () if kind is CLUSTER else tuple(versions)
    peer.stream.receive(DeltaRequest(kind.url, names, initial_versions=versions, node=NODE))
    return peer.said()


@pytest.mark.parametrize("kind", [CLUSTER, ROUTE], ids=lambda kind: kind.name)
def test_what_changes_between_two_that_come_back_with_the_same_is_sent_to_the_second(
    cache: Cache, kind: ResourceType
) -> None:
    before = held(cache, kind, c3="older")
    assert returns(cache, kind, before) == [f"{kind.url.rpartition('.')[2]}: +c3"]
    publish(cache, kind, c5="2", c7=None, new="1")
    for _ in range(2):
        said = returns(cache, kind, before)
        assert len(said) == 1
        assert set(said[0].split()[1:]) == {"+c3", "+c5", "-c7", *(["+new"] if kind is CLUSTER else [])}


def test_the_same_versions_are_compared_with_each_control_plane_for_itself(cache: Cache) -> None:
    before = held(cache, CLUSTER)
    other = Cache()
    publish(other, CLUSTER, **(CONTENTS | {"c1": "2"}))
    publish(other, ROUTE, **CONTENTS)
    assert other.publishes == cache.publishes
    assert returns(cache, CLUSTER, before) == []
    assert returns(other, CLUSTER, before) == ["Cluster: +c1"]
    assert returns(cache, CLUSTER, before) == []


def test_what_all_of_a_fleet_hold_is_compared_once(cache: Cache) -> None:
    before = held(cache, CLUSTER, c3="older")

    class Looked(Mapping[str, Resource]):
        times = 0

        def __getitem__(self, name: str) -> Resource:
            Looked.times += 1
            return cache.view(CLUSTER)[name]

        def __iter__(self) -> Iterator[str]:
            return iter(cache.view(CLUSTER))

        def __len__(self) -> int:
            return len(cache.view(CLUSTER))

    view = Looked()
    looks = []
    for _ in range(10):
        stream = Stream(lambda kind: view, newest=lambda: cache.publishes)
        already = Looked.times
        stream.receive(DeltaRequest(CLUSTER.url, initial_versions=before, node=NODE))
        looks.append(Looked.times - already)
        assert [[one.name for one in response.resources] for response in stream.responses()] == [["c3"]]
    assert looks[0] >= len(before)
    assert max(looks[1:]) < len(before) / 10


def test_what_nobody_counts_the_publishes_of_is_compared_each_time(cache: Cache) -> None:
    before = held(cache, CLUSTER)

    def sent() -> int:
        stream = Stream(cache.view)
        stream.receive(DeltaRequest(CLUSTER.url, initial_versions=before, node=NODE))
        return sum(len(response.resources) for response in stream.responses())

    assert sent() == 0
    publish(cache, CLUSTER, c5="2")
    assert sent() == 1


def test_of_one_that_lacks_more_than_it_holds_nothing_is_kept(cache: Cache) -> None:
    publish(cache, CLUSTER, **{f"more{number}": "1" for number in range(200)})
    few = whole(CONTENTS)
    said = returns(cache, CLUSTER, few)
    assert said[0].count("+") == len(cache.view(CLUSTER))
    assert few.compared is None
    most = held(cache, CLUSTER)
    assert returns(cache, CLUSTER, most) == []
    assert most.compared is not None


def test_a_streams_own_view_of_the_secrets_is_not_kept_when_it_ends(cache: Cache) -> None:
    publish(cache, SECRET, **CONTENTS)
    before = held(cache, SECRET)

    class Granted(dict[str, Resource]):
        """Which secrets this one client may have."""

    granted = Granted(cache.view(SECRET))
    gone = weakref.ref(granted)
    stream = Stream({SECRET: granted}.__getitem__, newest=lambda: cache.publishes)
    stream.receive(DeltaRequest(SECRET.url, tuple(before), initial_versions=before, node=NODE))
    del stream, granted
    gc.collect()
    assert gone() is None
