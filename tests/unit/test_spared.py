"""A client that comes back with other than there is here keeps it, while nobody knows which of both is newer."""

from __future__ import annotations

import pytest
from protocol_peer import Peer, made, publish

from xds.cache import Cache
from xds.resources.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPE, SECRET, ResourceType


@pytest.fixture
def cache() -> Cache:
    made = Cache()
    publish(made, CLUSTER, pod1="disk", pod2="disk")
    publish(made, ENDPOINT, pod1="disk", pod2="disk")
    publish(made, LISTENER, https="disk")
    publish(made, SECRET, edge="disk")
    publish(made, SCOPE, ab="disk")
    publish(made, ROUTE, t1="disk", t2="disk")
    return made


def version(kind: ResourceType, name: str, content: str) -> str:
    return made(kind, name, content).version


def versions(kind: ResourceType, **contents: str) -> dict[str, str]:
    return {name: version(kind, name, content) for name, content in contents.items()}


def comes_back(cache: Cache, *, defers: bool = True) -> tuple[Peer, list[str]]:
    """A delta client that was told of a pod and of a table that the disk doesn't know yet; and what it is sent."""
    peer = Peer(cache, defers=defers)
    sent = peer.delta(CLUSTER, initial=versions(CLUSTER, pod1="disk", pod2="newer", pod3="newer"))
    endpoints = versions(ENDPOINT, pod1="newer", pod2="disk", pod3="newer")
    sent += peer.delta(ENDPOINT, *endpoints, initial=endpoints)
    sent += peer.delta(SCOPE, initial=versions(SCOPE, ab="newer"))
    sent += peer.delta(ROUTE, "t1", "t2", "t3", initial=versions(ROUTE, t1="newer", t2="disk"))
    return peer, sent


def test_it_is_sent_what_it_lacks_and_nothing_in_place_of_what_it_has(cache: Cache) -> None:
    """Endpoints that it has as they are here are said again, as ever."""
    _, sent = comes_back(cache)
    assert sent == ["ClusterLoadAssignment: +pod2", "RouteConfiguration: -t3"]
    publish(cache, CLUSTER, pod4="disk")
    _, sent = comes_back(cache)
    assert sent[0] == "Cluster: +pod4"


def test_where_what_there_is_here_is_the_newest_it_is_brought_over_at_once(cache: Cache) -> None:
    _, sent = comes_back(cache, defers=False)
    assert sent[0] == "Cluster: +pod2 -pod3"
    assert sent[-1] == "RouteConfiguration: +t1 -t3"


def test_once_what_there_is_here_is_the_newest_it_gets_what_differs(cache: Cache) -> None:
    peer, _ = comes_back(cache)
    assert peer.stream.spared == 6
    publish(cache, ROUTE, t1="newer")
    publish(cache, CLUSTER, pod2="newest")
    assert peer.said() == [], "a publish alone doesn't end it"
    peer.stream.catch_up()
    assert peer.said() == [
        "Cluster: +pod2",
        "ClusterLoadAssignment: +pod2 +pod1",
        "ScopedRouteConfiguration: +ab",
        "Cluster: -pod3",
        "ClusterLoadAssignment: +pod3",
    ]
    assert (peer.stream.spared, peer.said()) == (0, [])


def test_what_it_has_as_it_is_here_goes_on_to_change(cache: Cache) -> None:
    peer, _ = comes_back(cache)
    publish(cache, ROUTE, t1="tried", t2="tried")
    assert peer.said() == ["RouteConfiguration: +t2"]


def test_it_counts_as_behind_until_then(cache: Cache) -> None:
    peer, _ = comes_back(cache)
    assert peer.stream.reached < cache.publishes
    assert "t1" in peer.stream.lacking(ROUTE)
    peer.stream.catch_up()
    peer.said()
    assert peer.stream.reached == cache.publishes


def test_a_new_client_gets_everything(cache: Cache) -> None:
    peer = Peer(cache, defers=True)
    assert peer.delta(CLUSTER) == ["Cluster: +pod1 +pod2"]
    assert peer.delta(ROUTE, "t1") == ["RouteConfiguration: +t1"]
    assert peer.stream.spared == 0


@pytest.mark.parametrize(("kind", "name"), [(LISTENER, "https"), (SECRET, "edge")])
def test_what_does_not_come_from_the_directory_is_sent_as_ever(cache: Cache, kind: ResourceType, name: str) -> None:
    peer = Peer(cache, defers=True)
    names = (name,) if kind is SECRET else ()
    sent = peer.delta(kind, *names, initial=versions(kind, **{name: "other"}))
    assert sent == [f"{kind.url.rpartition('.')[2]}: +{name}"]


def test_what_is_asked_for_once_more_is_answered(cache: Cache) -> None:
    peer, _ = comes_back(cache)
    assert peer.delta(ROUTE, unsubscribe=("t1",)) == []
    assert peer.delta(ROUTE, "t1") == ["RouteConfiguration: +t1"]


def test_a_sotw_client_does_not_say_what_it_has_and_gets_everything(cache: Cache) -> None:
    peer = Peer(cache, defers=True)
    assert peer.sotw(CLUSTER, version="another") == ["Cluster: +pod1 +pod2"]
    assert peer.sotw(ENDPOINT, "pod1", version="another") == ["ClusterLoadAssignment: +pod1"]
    assert peer.stream.spared == 0
